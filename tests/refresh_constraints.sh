#!/usr/bin/env bash
# Pins every dependency at the version that a clean environment resolves to today. Called by `make constraints`.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
pip() { "$folder/env/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --upgrade pip
pip install --quiet 'torch==2.13.*'
export URLLIB3_NO_OVERRIDE=1  # as in the Makefile
pip install --quiet --no-binary urllib3-future --group dev -e packages/core -e "packages/data[trafilatura,models,embeddings,spark,beam,ner,onnx,s3,gs,hf,http,pdf,mediawiki,latex,code]" -e "packages/train[nvml]" -e packages/eval -e "packages/monitor[grafana,grafana-push,tensorboard,wandb,mlflow]" -e packages/k8s
pip check
{
  echo "# Versions that are known to work together. Refreshed by: make constraints"
  pip freeze --all --exclude-editable | sed -E 's/ @ file:.*//; s/\+cpu$//' | grep -E '^[A-Za-z0-9._-]+==' \
    | grep -viE '^(headwater|nvidia|cuda|triton)' | sort -f
} > constraints.txt
echo "constraints.txt: $(grep -c == constraints.txt) packages pinned"
