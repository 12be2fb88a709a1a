// llama.cpp as a side of benchmarks/peers.py, through its C API and with the best that it has for each row.
//
//     llama_side MODEL.gguf WORK.json THREADS
//
// WORK.json is what peers.py writes. A line that names a row is answered as in engine_sides.py: with the seconds that
// it took and what came out. "Sequence" is llama.cpp's word for tokens that see each other; sequences can share memory.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "llama-cpp.h"

namespace {

using nlohmann::json;
using Tokens = std::vector<llama_token>;
using Row = std::function<json()>;

struct Model {
    llama_model_ptr weights;
    int threads;

    int vocabulary() const { return llama_vocab_n_tokens(llama_model_get_vocab(weights.get())); }
};

struct ContextSize {
    size_t tokens;     // held for all sequences
    size_t batch;      // tokens of one llama_decode
    size_t sequences;
};

// That go through the model at once; 256, 1024 and 2048 were tried for label scores: no clear gain.
constexpr int PASS_TOKENS = 512;

llama_context_ptr new_context(const Model &model, const ContextSize &size) {
    auto settings = llama_context_default_params();
    settings.n_ctx = size.tokens;
    settings.n_batch = std::max<size_t>(size.batch, PASS_TOKENS);
    settings.n_ubatch = PASS_TOKENS;
    settings.n_seq_max = size.sequences;
    settings.kv_unified = true;  // one memory, in which sequences can share tokens
    settings.n_threads = settings.n_threads_batch = model.threads;
    settings.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    // Keys and values are float16, the default, in both precisions: flash attention rounds those of float32 to it, with
    // equal results. Without flash attention, which would keep float32, label scores in float32 took longer.
    llama_context_ptr context(llama_init_from_model(model.weights.get(), settings));
    if (!context) throw std::runtime_error("llama.cpp made no context");
    return context;
}

// Tokens that go through the model together.
class Batch {
  public:
    Batch(llama_context *context, size_t sequences)
        : context_(context), size_(llama_n_batch(context)), batch_(llama_batch_init(size_, 0, sequences)) {}
    Batch(const Batch &) = delete;
    ~Batch() { llama_batch_free(batch_); }

    int size() const { return batch_.n_tokens; }

    // Adds a token and returns its place, at which `logits` are found afterwards if they are `wanted`.
    int add(llama_token token, int position, const std::vector<llama_seq_id> &sequences, bool wanted) {
        if (batch_.n_tokens == size_) throw std::runtime_error("the batch is full");
        const int place = batch_.n_tokens++;
        batch_.token[place] = token;
        batch_.pos[place] = position;
        batch_.n_seq_id[place] = sequences.size();
        std::copy(sequences.begin(), sequences.end(), batch_.seq_id[place]);
        batch_.logits[place] = wanted;
        return place;
    }

    // Adds tokens of one sequence from `start`; returns the place of the last one, whose logits are wanted.
    int add_prompt(const Tokens &tokens, size_t start, llama_seq_id sequence) {
        int place = -1;
        for (size_t at = start; at < tokens.size(); ++at) {
            place = add(tokens[at], at, {sequence}, at + 1 == tokens.size());
        }
        return place;
    }

    void run() {
        if (const int status = llama_decode(context_, batch_)) {
            throw std::runtime_error("llama_decode returned " + std::to_string(status));
        }
        batch_.n_tokens = 0;
    }

    const float *logits(int place) const { return llama_get_logits_ith(context_, place); }

  private:
    llama_context *context_;
    int size_;
    llama_batch batch_;
};

float maximum(const float *logits, int count) {
    float found = logits[0];
    for (int i = 1; i < count; ++i) found = std::max(found, logits[i]);
    return found;
}

llama_token most_likely(const float *logits, int count) {
    return std::find(logits, logits + count, maximum(logits, count)) - logits;
}

double log_sum_exp(const float *logits, int count) {
    constexpr int BLOCK = 1024;  // short sums of floats lose little
    const float highest = maximum(logits, count);
    double sum = 0;
    for (int start = 0; start < count; start += BLOCK) {
        float part = 0;
        for (int i = start; i < std::min(count, start + BLOCK); ++i) part += std::exp(logits[i] - highest);
        sum += part;
    }
    return highest + std::log(sum);
}

size_t longest(const std::vector<Tokens> &prompts) {
    size_t found = 0;
    for (const auto &prompt : prompts) found = std::max(found, prompt.size());
    return found;
}

size_t shared_tokens(const Tokens &one, const Tokens &other) {
    return std::mismatch(one.begin(), one.end(), other.begin(), other.end()).first - one.begin();
}

// How many tokens all prompts begin with; the last token of a prompt is never among them, since it has to be computed.
size_t common_prefix(const std::vector<Tokens> &prompts) {
    size_t found = prompts[0].size();
    for (const auto &prompt : prompts) found = std::min({found, shared_tokens(prompts[0], prompt), prompt.size() - 1});
    return found;
}

constexpr int ADMITTED = 2048;  // prompt tokens that may join a batch

// Greedy answers, several at once: when one is done the next prompt takes its place (continuous batching). What all
// prompts begin with is computed once, in a sequence of its own, and copied.
class Generation {
  public:
    Generation(const Model &model, std::vector<Tokens> prompts, int new_tokens, std::set<llama_token> stops,
               int parallel)
        : prompts_(std::move(prompts)), new_tokens_(new_tokens), stops_(std::move(stops)), parallel_(parallel),
          vocabulary_(model.vocabulary()), prefix_(common_prefix(prompts_)),
          context_(new_context(model, size())), memory_(llama_get_memory(context_.get())), batch_(context_.get(), 1) {}

    json operator()() {
        answers_.assign(prompts_.size(), {});
        slots_.assign(parallel_, {});
        next_ = 0;
        llama_memory_clear(memory_, false);
        for (size_t at = 0; at < prefix_; ++at) batch_.add(prompts_[0][at], at, {parallel_}, false);
        if (prefix_) batch_.run();
        while (fill_batch()) {
            batch_.run();
            take_tokens();
        }
        return answers_;
    }

  private:
    struct Slot {
        int request = -1;  // whose answer is written, in the sequence with the slot's number
        int position;      // of the next token
        int place;         // in the batch, of the newest token
        llama_token last;
    };

    ContextSize size() const {
        const size_t most = longest(prompts_) + new_tokens_, parallel = parallel_;
        return {prefix_ + parallel * (most - prefix_), std::max<size_t>(ADMITTED + parallel, most), parallel + 1};
    }

    bool fill_batch() {
        for (int number = 0; number < parallel_; ++number) {
            Slot &slot = slots_[number];
            if (slot.request < 0) continue;
            slot.place = batch_.add(slot.last, slot.position++, {number}, true);
        }
        admit_prompts();
        return batch_.size() > 0;
    }

    void admit_prompts() {
        const int answering = batch_.size();
        for (int number = 0; number < parallel_ && next_ < prompts_.size(); ++number) {
            Slot &slot = slots_[number];
            if (slot.request >= 0) continue;
            const Tokens &prompt = prompts_[next_];
            const int tokens = batch_.size() - answering + prompt.size() - prefix_;
            if (batch_.size() && tokens > ADMITTED) return;
            if (prefix_) llama_memory_seq_cp(memory_, parallel_, number, -1, -1);
            slot.place = batch_.add_prompt(prompt, prefix_, number);
            slot.position = prompt.size();
            slot.request = next_++;
        }
    }

    void take_tokens() {
        for (int number = 0; number < parallel_; ++number) {
            Slot &slot = slots_[number];
            if (slot.request < 0) continue;
            slot.last = most_likely(batch_.logits(slot.place), vocabulary_);
            Tokens &answer = answers_[slot.request];
            answer.push_back(slot.last);
            if (!stops_.count(slot.last) && (int)answer.size() < new_tokens_) continue;
            llama_memory_seq_rm(memory_, number, -1, -1);
            slot.request = -1;
        }
    }

    std::vector<Tokens> prompts_;
    int new_tokens_;
    std::set<llama_token> stops_;
    int parallel_;
    int vocabulary_;
    size_t prefix_;
    llama_context_ptr context_;
    llama_memory_t memory_;
    Batch batch_;
    std::vector<Slot> slots_;
    std::vector<Tokens> answers_;
    size_t next_ = 0;
};

// Log-likelihoods of labels after contexts, several contexts at once. Their tokens are a tree: one that several labels
// go through is computed once and belongs to the sequences of all of them. What all contexts begin with is shared, too.
class LabelScores {
  public:
    LabelScores(const Model &model, const json &asked, int parallel) : vocabulary_(model.vocabulary()) {
        for (const auto &[context, label] : asked.get<std::vector<std::pair<Tokens, Tokens>>>()) {
            if (contexts_.empty() || contexts_.back() != context) {
                contexts_.push_back(context);
                labels_.emplace_back();
            }
            labels_.back().push_back(label);
        }
        for (const auto &labels : labels_) most_labels_ = std::max(most_labels_, labels.size());
        parallel_ = parallel;
        prefix_ = common_prefix(contexts_);
        size_t label = 0;
        for (const auto &labels : labels_) label = std::max(label, longest(labels));
        const size_t batch = parallel * (longest(contexts_) - prefix_ + most_labels_ * label);
        context_ = new_context(model, {prefix_ + batch, std::max(batch, prefix_), base() + 1});
        memory_ = llama_get_memory(context_.get());
    }

    json operator()() {
        Batch batch(context_.get(), base() + 1);
        llama_memory_clear(memory_, false);
        const llama_seq_id shared = base();
        for (size_t at = 0; at < prefix_; ++at) batch.add(contexts_[0][at], at, {shared}, false);
        if (prefix_) batch.run();
        for (llama_seq_id sequence = 0; sequence < shared; ++sequence) {
            llama_memory_seq_cp(memory_, shared, sequence, -1, -1);
        }
        std::vector<double> scores;
        for (size_t first = 0; first < contexts_.size(); first += parallel_) {
            score(batch, first, std::min(contexts_.size(), first + parallel_), scores);
            for (llama_seq_id sequence = 0; sequence < shared; ++sequence) {
                llama_memory_seq_rm(memory_, sequence, prefix_, -1);
            }
        }
        return scores;
    }

  private:
    struct Node {
        llama_token token;
        int position;
        bool wanted = false;  // whether a label's token comes next
        std::vector<llama_seq_id> sequences = {};
    };

    size_t base() const { return parallel_ * most_labels_; }

    // Appends the scores of the labels of contexts `first` to before `last`.
    void score(Batch &batch, size_t first, size_t last, std::vector<double> &scores) {
        std::vector<Node> nodes;
        std::vector<std::vector<int>> paths;  // of each label: the nodes that its tokens are predicted at
        for (size_t query = first; query < last; ++query) {
            std::map<std::pair<int, llama_token>, int> children;
            for (size_t label = 0; label < labels_[query].size(); ++label) {
                const llama_seq_id sequence = (query - first) * most_labels_ + label;
                paths.push_back(add_path(nodes, children, contexts_[query], labels_[query][label], sequence));
            }
        }
        // Parents come before their children, as they were made.
        std::vector<int> places;
        for (const auto &node : nodes) {
            places.push_back(batch.add(node.token, node.position, node.sequences, node.wanted));
        }
        batch.run();
        std::vector<double> totals(nodes.size());
        for (size_t node = 0; node < nodes.size(); ++node) {
            if (nodes[node].wanted) totals[node] = log_sum_exp(batch.logits(places[node]), vocabulary_);
        }
        auto path = paths.begin();
        for (size_t query = first; query < last; ++query) {
            for (const auto &label : labels_[query]) {
                double sum = 0;
                for (size_t at = 0; at < label.size(); ++at) {
                    const int node = (*path)[at];
                    sum += batch.logits(places[node])[label[at]] - totals[node];
                }
                scores.push_back(sum);
                ++path;
            }
        }
    }

    // Adds a label's way through the tree of its context, and returns the nodes that its tokens are predicted at.
    std::vector<int> add_path(std::vector<Node> &nodes, std::map<std::pair<int, llama_token>, int> &children,
                              const Tokens &context, const Tokens &label, llama_seq_id sequence) const {
        Tokens tokens = context;
        tokens.insert(tokens.end(), label.begin(), label.end() - 1);
        std::vector<int> predicting;
        int parent = -1;
        for (size_t at = prefix_; at < tokens.size(); ++at) {
            const auto [child, is_new] = children.try_emplace({parent, tokens[at]}, nodes.size());
            if (is_new) nodes.push_back({tokens[at], (int)at});
            parent = child->second;
            nodes[parent].sequences.push_back(sequence);
            if (at + 1 < context.size()) continue;
            nodes[parent].wanted = true;
            predicting.push_back(parent);
        }
        return predicting;
    }

    std::vector<Tokens> contexts_;
    std::vector<std::vector<Tokens>> labels_;
    size_t most_labels_ = 0, parallel_ = 0, prefix_ = 0;
    int vocabulary_;
    llama_context_ptr context_;
    llama_memory_t memory_;
};

// Greedy answers, one request after another: each keeps the tokens that it begins with as the one before did.
class SingleRequests {
  public:
    SingleRequests(const Model &model, std::vector<Tokens> prompts, int new_tokens)
        : prompts_(std::move(prompts)), new_tokens_(new_tokens), vocabulary_(model.vocabulary()) {
        const size_t most = longest(prompts_) + new_tokens;
        context_ = new_context(model, {most, most, 1});
        memory_ = llama_get_memory(context_.get());
    }

    json operator()() {
        Batch batch(context_.get(), 1);
        llama_memory_clear(memory_, false);
        std::vector<Tokens> answers;
        Tokens before;
        for (const auto &prompt : prompts_) {
            const size_t kept = std::min(shared_tokens(before, prompt), prompt.size() - 1);
            llama_memory_seq_rm(memory_, 0, kept, -1);
            answers.push_back(answer(batch, prompt, kept));
            before = prompt;
        }
        return answers;
    }

  private:
    Tokens answer(Batch &batch, const Tokens &prompt, size_t kept) const {
        Tokens found;
        int place = batch.add_prompt(prompt, kept, 0), position = prompt.size();
        while (true) {
            batch.run();
            found.push_back(most_likely(batch.logits(place), vocabulary_));
            if ((int)found.size() == new_tokens_) return found;
            place = batch.add(found.back(), position++, {0}, true);
        }
    }

    std::vector<Tokens> prompts_;
    int new_tokens_, vocabulary_;
    llama_context_ptr context_;
    llama_memory_t memory_;
};

// A row that can be asked again and again; its memory is made here, outside of what is timed.
Row row_of(const std::string &name, const Model &model, const json &work) {
    const json &asked = work.at(name);
    if (name == "score_labels") {
        // 8, 20 and 32 contexts at once were tried: within 4% of each other.
        return [row = std::make_shared<LabelScores>(model, asked, 20)] { return (*row)(); };
    }
    if (name == "single_requests") {
        return [row = std::make_shared<SingleRequests>(model, asked, work.at("single_tokens"))] { return (*row)(); };
    }
    // Of short answers 8, 16, 32 and 64 at once were tried in bfloat16: 32 and 64 were the fastest, 1% apart. Of the
    // other rows only 16 was run.
    const bool whole = name == "long_answers";
    const int tokens = work.at(whole ? "long_tokens" : "short_tokens");
    std::set<llama_token> stops;
    if (!whole) {
        for (const char *key : {"eos", "newlines"}) stops.insert(work.at(key).begin(), work.at(key).end());
    }
    const int parallel = name == "short_answers" ? 32 : 16;
    return [row = std::make_shared<Generation>(model, asked, tokens, stops, parallel)] { return (*row)(); };
}

Model load(const std::string &file, int threads) {
    llama_backend_init();
    llama_log_set([](ggml_log_level level, const char *text, void *) {
        if (level >= GGML_LOG_LEVEL_ERROR) std::cerr << text;
    }, nullptr);
    llama_model_ptr weights(llama_model_load_from_file(file.c_str(), llama_model_default_params()));
    if (!weights) throw std::runtime_error("llama.cpp cannot load " + file);
    return {std::move(weights), threads};
}

void serve(const std::string &model_file, const std::string &work_file, int threads) {
    const Model model = load(model_file, threads);
    const json work = json::parse(std::ifstream(work_file));
    std::cout << json{{"ready", "llama.cpp"}} << std::endl;
    std::string name, current;
    Row row;
    while (std::getline(std::cin, name)) {
        if (name != current) {
            row = nullptr;
            row = row_of(name, model, work);
            current = name;
        }
        const auto start = std::chrono::steady_clock::now();
        const json found = row();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        std::cout << json{{"seconds", seconds.count()}, {"found", found}} << std::endl;
    }
}

}  // namespace

int main(int count, char **arguments) {
    try {
        if (count != 4) throw std::runtime_error("llama_side MODEL.gguf WORK.json THREADS");
        serve(arguments[1], arguments[2], std::stoi(arguments[3]));
    } catch (const std::exception &error) {
        std::cerr << error.what() << std::endl;
        return 1;
    }
}
