"""Retraining on a schedule: new rows are taken in, triggers are evaluated, a challenger has to beat the champion.

evidence     what is known in a run, gathered for the triggers
triggers     reasons to retrain, each a function; `drift` and `whether.stats.sequential` hold the statistics
gate         challenger against champion on the same examples
warm         a challenger that continues from the champion's adapter
hooks        the user's commands: fetch rows, report a promotion
job          a retraining run: lock, take in, triggers, pipeline, gate, promote or keep, report
"""
