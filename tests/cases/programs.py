"""Programs that cases run in a repository of their own: what they call by name of the project is all in here.

Each reads values.json and prints one JSON object as its last line.
"""

READ = """
import json

from whether.outputs.kinds import answer_parser, output_of
from whether.outputs.output import score_answer
from whether.records import Task

found = []
for group in json.load(open("values.json")):
    kind = group.get("kind", "label")
    task = Task(
        name="case", output=kind, metric="accuracy" if kind == "label" else "exact_match", instruction="",
        input_template="",
        labels=group["labels"] or [], schema=group.get("schema"), answer_pattern=None, max_new_tokens=64,
    )
    for one in group["outputs"]:
        try:
            answer = answer_parser(task)(one["output"])
            if kind == "text" and one.get("answer") and score_answer(output_of(task), answer, one["answer"]) == 1:
                answer = one["answer"]
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        found.append(answer)
print(json.dumps({"answers": found}))
"""

ASK = """
import dataclasses, json, sys
from whether.entry import prepare_process
prepare_process()
from whether.config import ServedConfig
from whether.errors import WhetherError
from whether.records import Decoding, Message, Sampling
from whether.served.model import ServedModel

values = json.load(open("values.json"))
settings = {"base_url": values["url"], "model": values["model"], "attempts": 4, "timeout": 10.0, "concurrency": 2}
if values.get("extra"):
    settings["request"] = {"add": values["extra"]}
if values.get("header"):
    settings["request"] = {"headers": values["header"]}
chats = [[Message("system", values["instruction"]), Message("user", text)] for text in values["chats"]]
sampling = Sampling(seed=5, **values["sampling"]) if values.get("sampling") else Sampling()
facts = {"answers": None, "error": None}
try:
    answers = ServedModel(ServedConfig(**settings)).generate(chats, Decoding(8, sampling=sampling))
    facts["answers"] = [[one.text.strip() for one in samples] for samples in answers]
    facts["tokens"] = answers[0][0].input_tokens
except WhetherError as error:
    facts["error"] = str(error)
    print(f"error: {error}", file=sys.stderr)
print(json.dumps(facts))
"""

PUBLISH = """
import json, sys
from dataclasses import replace
from pathlib import Path
from whether.entry import prepare_process
prepare_process()
root = json.load(open("values.json"))["root"]
sys.path[:0] = [root, f"{root}/tests", f"{root}/tests/tracking"]
import yaml
from synthetic_records import ROOT, Records
from whether.config import CONF, check, compose
from whether.errors import WhetherError
from whether.tracking.publish import publish

settings = check(yaml.safe_load(compose(["baseline=[]"], conf=ROOT / CONF)))
settings = replace(settings, task=replace(settings.task, name=json.load(open("values.json"))["name"]))
records = Records(Path("project").resolve(), settings)
records.write_all()
try:
    receipt = publish(records.config, records.artifacts)
    print(json.dumps({"pending": receipt.pending, "reason": receipt.reason}))
except WhetherError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
"""

COLLIDE = """
import json
from dataclasses import replace
import yaml
from whether.config import check, compose
from whether.prepare.collected import collected_file

task = check(yaml.safe_load(compose(["task=case"]))).task
names = json.load(open("values.json"))["name"]
print(json.dumps({"files": [str(collected_file(replace(task, name=name))) for name in names]}))
"""
