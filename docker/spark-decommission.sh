#!/bin/bash
# What Kubernetes runs in an executor before it ends (Spark's preStop hook): Java hands its shuffle files on, and is waited
# for as long as the pod's grace period lasts.
set -euo pipefail
for folder in /proc/[0-9]*; do
    if [ "$(cat "$folder/comm" 2> /dev/null)" = java ]; then
        pid=${folder#/proc/}
        kill -s PWR "$pid"
        tail --pid="$pid" -f /dev/null
    fi
done
