"""Retraining on a schedule: new rows are taken in, triggers are evaluated, a challenger has to beat the champion.

inbox        files become collected rows, each once; what cannot be used is set aside with the reason
triggers     reasons to retrain, each a function; `drift` and `sequential` hold the statistics
bundles      all that answers as one arm did, complete before it can become the champion
gate         challenger against champion on the same examples
promotion    which bundle answers: one small file, replaced last
job          a night: lock, take in, triggers, pipeline, gate, promote or keep, report
"""
