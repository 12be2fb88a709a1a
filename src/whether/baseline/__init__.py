"""Small models that answer without a language model: what people would otherwise pick."""
