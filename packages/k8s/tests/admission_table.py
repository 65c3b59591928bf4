"""Prints the tables of docs/kubernetes.md: what the API server admits, and what it says of what is broken.

HEADWATER_CRD_SERVER=… HEADWATER_CRDS=… python packages/k8s/tests/admission_table.py
"""

from __future__ import annotations

import copy
import re
import sys
import tempfile
from pathlib import Path

from broken import BROKEN
from crd_api import CrdApi
from rendered import CASES, case, of_kind

SHOWN = 150


def main() -> None:
    if reason := CrdApi.missing():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, CrdApi(Path(folder)) as api:
        print("| rendered | custom resources | answer |\n|---|---|---|")
        for name in CASES:
            custom = [each for each in case(name) if api.serves(each)]
            answers = {api.admit(each) or "admitted" for each in custom} or {"none to admit"}
            print(f"| {name} | {', '.join(each['kind'] for each in custom) or '–'} | {'; '.join(sorted(answers))} |")
        print("\n| broken | the server's answer |\n|---|---|")
        for name, (rendered, kind, change, _) in BROKEN.items():
            manifest = copy.deepcopy(of_kind(case(rendered), kind))
            change(manifest)
            answer = re.sub(r"\s+", " ", api.admit(manifest) or "admitted")
            answer = re.sub(r"should match '.*", "should match a pattern", answer)
            answer = re.sub(r"^(.*? is invalid: |.*?strict decoding error: )", "", answer).replace("|", "\\|")
            print(f"| {name} | `{answer[:SHOWN]}{'…' if len(answer) > SHOWN else ''}` |")


if __name__ == "__main__":
    main()
