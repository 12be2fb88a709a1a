"""MLflow shows what the files say; only this package imports mlflow.

`reading` makes `views` of the records under artifacts/, with the `names` that MLflow has for them; `markdown` writes a
verdict for people; `store` writes a run into MLflow, found again by its content key; `publish` brings it up to date.
"""
