#!/bin/sh
# One trial of a sweep, started by `wandb agent`: a whole run, then its scores in the agent's wandb run.
set -e
run="runs/sweeps/${WANDB_RUN_ID:?is set by wandb agent}"
tag2mask run "$@" --run-dir "$run"
tag2mask wandb "$run" --one-run
