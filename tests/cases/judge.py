"""Says whether what a case left behind is right: `right` of cases.yaml against status, messages and files."""

import re
import unicodedata


def same(value):
    return unicodedata.normalize("NFKC", value).casefold().replace("\u00ad", "").strip()


def judge(right, done, facts, case):
    """Return what is not as it should be, a sentence each."""
    wrong = []
    if done.traceback:
        wrong.append("a traceback")
    if isinstance(right, str):  # kind E: `right` is prose, the outputs say the rest
        found = facts.get("wrong", ["nothing was read"])
        return wrong + ([f"{len(found)} of {facts.get('of')} outputs are read wrong"] if found else [])
    if case["run"] in ("served_arm", "local_arm") and facts.get("asked_it") is False:
        wrong.append("the row is not asked with this seed: change the case's overrides")
    if (
        case["run"] in ("compose", "prepare", "model", "served_arm", "local_arm", "finetune", "publish")
        and done.status
        and not done.traceback
        and not re.search(r"^error: ", done.text, re.MULTILINE)
    ):
        wrong.append("the command failed without a line that begins with error:")
    wrong += unmet(right, done, facts, case)
    if "any_of" in right:
        options = [unmet(option, done, facts, case) for option in right["any_of"]]
        if all(options):
            wrong.append("none of the right outcomes: " + " | ".join("; ".join(option) for option in options))
    return wrong


def unmet(right, done, facts, case):
    wrong = []

    def expect(name, wanted, found):
        if wanted != found:
            wrong.append(f"{name} is {found!r:.150}, not {wanted!r:.150}")

    for key, wanted in right.items():
        if key == "any_of":
            continue
        if key == "exit":
            expect("the exit status", wanted, done.status)
        elif key == "stage":
            expect("the stage", wanted, done.stage)
        elif key == "said":
            wrong += [f"nothing is said of {one!r}" for one in wanted if not re.search(one, said(done), re.IGNORECASE)]
        elif key == "not_said":
            wrong += [f"it is said: {one!r}" for one in wanted if re.search(one, said(done), re.IGNORECASE)]
        elif key == "rows":
            expect("rows", sorted(map(list, wanted), key=repr), sorted(facts.get("rows", []), key=repr))
        elif key == "targets":
            expect("the targets", sorted(wanted), sorted(row[1] for row in facts.get("rows", [])))
        elif key == "count":
            expect("the number of rows", wanted, len(facts["rows"]) if "rows" in facts else None)
        elif key == "labels":
            expect("labels", sorted(wanted), sorted(facts.get("labels", [])))
        elif key == "labels_folded":
            expect(
                "labels",
                sorted(map(same, wanted)),
                sorted(same(label).replace("\u200b", "") for label in facts.get("labels", [])),
            )
        elif key == "labels_count":
            expect("the number of labels", wanted, len(facts.get("labels", [])))
        elif key in ("rejected", "quarantined_lines"):
            expect(key, wanted, facts.get(key))
        elif key == "rejected_has":
            wrong += [f"rejected.jsonl has no {one!r}" for one in wanted if one not in facts.get("rejected_text", "")]
        elif key == "target_has":
            wrong += [
                f"no target has {one!r}" for one in wanted if not any(one in row[1] for row in facts.get("rows", []))
            ]
        elif key == "profile":
            for path, value in wanted.items():
                node = facts.get("profile", {})
                for part in path.split("."):
                    node = node.get(part, {}) if isinstance(node, dict) else {}
                expect(path, value, node)
        elif key == "params":
            for path, value in wanted.items():
                node = facts.get("params")
                for part in path.split("."):
                    node = node.get(part) if isinstance(node, dict) else None
                expect(path, value, node)
        elif key == "not_both":
            expect("both texts are kept", False, set(wanted) <= {row[0] for row in facts.get("rows", [])})
        elif key == "taken":
            for name, value in wanted.items():
                expect(f"taken.{name}", value, facts.get("taken", {}).get(name))
        elif key == "quarantined_at_least":
            if facts.get("taken", {}).get("quarantined", 0) < wanted:
                wrong.append("nothing was set aside")
        elif key == "record":
            expect("a record of the run", wanted, facts.get("record"))
        elif key == "answers":
            found = facts.get("answers")
            if found is None or len(found) != len(wanted):
                wrong.append(f"no answers: {facts.get('error')!r:.200}")
            elif any(
                (set(got) != {want}) if want is not None else any(got) for want, got in zip(wanted, found, strict=True)
            ):
                wrong.append(f"answers are {[got[0] if len(set(got)) == 1 else got for got in found]}")
        elif key == "tokens":
            expect("tokens", wanted, facts.get("tokens", 0))
        elif key == "error":
            expect("an error", wanted, facts.get("error") is not None)
        elif key == "attempts_each":
            expect("the number of requests", wanted * facts.get("chats", 0), facts.get("requests"))
        elif key == "answered_others":
            if facts.get("answered", 0) < facts.get("of", 1) - max(1, facts.get("of", 1) // 4) or not facts.get(
                "answered"
            ):
                wrong.append(f"{facts.get('answered', 0)} of {facts.get('of', 0)} rows were answered")
        elif key == "recorded_line":
            if not re.search(rf'"line": ?{wanted}\b|line {wanted}\b', facts.get("records", "")):
                wrong.append(f"no record names line {wanted}")
        elif key == "recorded_reason":
            if not re.search(wanted, facts.get("records", ""), re.IGNORECASE):
                wrong.append(f"no record gives the reason ({wanted})")
        elif key == "prompt_has":
            for one in wanted:
                text = facts.get("input") if one == "@input" else one
                if text not in facts.get("prompt", ""):
                    wrong.append(f"the prompt lacks {text!r}")
        elif key == "not_run":
            if wanted in facts.get("ran", []):
                wrong.append("code of the model folder was run")
        elif key in ("pending", "apart"):
            expect(key, wanted, facts.get(key))
        else:
            wrong.append(f"the judge does not know {key!r}")
    return wrong


def said(done):
    """What a person reads, without the frames of a traceback."""
    return re.sub(r'^\s+File ".*"(, line \d+.*)?\n.*\n', "", done.text, flags=re.MULTILINE)


def seen(done, facts):
    """What happened, in a line."""
    lines = [line.strip() for line in done.text.splitlines() if line.strip()]
    if done.traceback:
        last = next(
            (line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b", line)), lines[-1]
        )
        text = f"traceback at {done.stage or 'the program'}: {last}"
    elif "wrong" in facts:
        text = "; ".join(f"{one['output']!r} is read as {one['read']!r}" for one in facts["wrong"][:4])
        text = f"{len(facts['wrong'])} of {facts['of']} wrong: {text}" if facts["wrong"] else f"all {facts['of']} right"
    elif "taken" in facts:
        taken = {
            name: facts["taken"].get(name)
            for name in ("files", "labelled", "unlabelled", "quarantined", "below_min_label_rows")
        }
        text = f"taken {taken}" + (f", set aside {facts['quarantined_lines']}" if facts["quarantined_lines"] else "")
        reasons = [line for line in lines if "rows are in retrain/quarantine/" in line]
        text += f": {reasons[-1].partition(', such as ')[2]}" if reasons else ""
        text = text if facts["record"] else f"no record of the run; {lines[-1] if lines else ''}"
    elif facts.get("answers"):
        text = f"answers {[got[0] if len(set(got)) == 1 else got for got in facts['answers']]}"
    elif done.status:
        error = [index for index, line in enumerate(lines) if line.startswith("error: ")]
        text = f"exit {done.status} at {done.stage}: " + " ".join(
            lines[error[-1] : error[-1] + 2] if error else lines[-1:]
        )
    elif facts.get("error"):
        text = f"error: {facts['error']}"
    else:
        keep = {name: facts[name] for name in ("labels", "rejected", "pending", "reason", "apart") if name in facts}
        keep |= {"rows": len(facts["rows"])} if "rows" in facts else {}
        text = f"exit 0, {keep}"
    text = re.sub(r"/\S*?/[A-Z]\d\d-\w+/", "", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text))
    return text if len(text) <= 260 else text[:259] + "\u2026"
