#!/usr/bin/env bash
# Installs the types that Grafana publishes, for validate.mjs and its test, outside the repository.
set -euo pipefail
cd "$(dirname "$0")"
folder=${XDG_CACHE_HOME:-$HOME/.cache}/headwater/grafana-schema
mkdir -p "$folder"
cp package.json package-lock.json checked.ts "$folder/"
cd "$folder"
npm ci --ignore-scripts --no-audit --no-fund
echo "$folder"
