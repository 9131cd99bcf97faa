#!/usr/bin/env bash
# What a new user does, by the words of README, in a fresh clone and a fresh environment; a line with seconds for
# each command, and a last one if all is well.
#
#   tests/newcomer.sh                  everything (the environment alone takes minutes and 6 GB)
#   tests/newcomer.sh --no-setup       take this checkout and its environment (VENV); leave README's two commands out
#   tests/newcomer.sh --tests "WORDS"  pytest's words for `make test`, e.g. "tests/unit -k own"
#   tests/newcomer.sh --photos DIR     DIR/images and DIR/labels.csv instead of generated photos
#   tests/newcomer.sh --budget small   the budget for the photos (default: demo, which suits the generated ones)
#   tests/newcomer.sh --keep DIR       work in DIR, a new folder, and leave it there to look at
#   tests/newcomer.sh --weights FILE   first weights, where there is no network to get ImageNet's from
set -euo pipefail
# `make newcomer ARGS=...` would hand its own ARGS on to every make in here.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES ARGS

repository=$(cd "$(dirname "$0")/.." && pwd)
setup=yes tests= budget=demo photos= weights= keep=
while [ $# -gt 0 ]; do
  case $1 in
    --no-setup) setup=no ;;
    --tests) tests=$2; shift ;;
    --photos) photos=$(cd "$2" && pwd); shift ;;
    --budget) budget=$2; shift ;;
    --keep) keep=$(realpath -m "$2"); shift ;;
    --weights) weights=$(realpath "$2"); shift ;;
    *) echo "unknown option $1; the head of $0 lists them" >&2; exit 2 ;;
  esac
  shift
done

if [ -n "$keep" ]; then
  mkdir "$keep" && folder=$keep
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
done=0

# step NAME COMMAND...: its seconds, or its output and the end
step() {
  local name=$1 begun=$SECONDS
  shift
  if "$@" >"$folder/log" 2>&1; then
    printf '%-9s %5d s   %s\n' "$name" $((SECONDS - begun)) "$*"
    done=$((done + 1))
  else
    printf '%-9s FAILED   %s\n' "$name" "$*"
    tail -n 40 "$folder/log"
    exit 1
  fi
}

# a run ends by itself where every label is empty; of 40 images most have to show something
labels_show_something() {
  "$bin/python" -c 'import json, sys
facts = json.load(open(sys.argv[1]))["labels"]
print(facts)
sys.exit(2 * facts["empty"] > facts["tagged"])' "$1"
}

if [ $setup = yes ]; then
  step clone git clone -q "$repository" "$folder/tag2mask"
  cd "$folder/tag2mask"
  step demo make demo
  step test make test ${tests:+ARGS="$tests"}
  bin=.venv/bin at=
  stages=(make stage1 stage2 stage3)
else
  cd "$repository"
  venv=$(cd "${VENV:-.venv}" && pwd)
  bin=$venv/bin at=$folder/
  stages=(make -o "$venv/.tag2mask-setup" stage1 stage2 stage3 VENV="$venv")
fi

# 40 photos in a plain folder, and a table as somebody would type it
mine=${at}my_photos more=${at}more_photos run=${at}runs/mine
mkdir -p "$mine/images" "$more"
if [ -n "$photos" ]; then
  cp "$photos/labels.csv" "$mine/" && cp "$photos"/images/* "$mine/images/"
else
  "$bin/python" - "$mine" <<'PYTHON'
import sys
from pathlib import Path

from tag2mask.data import Shapes

root = Path(sys.argv[1])
made = Shapes(str(root / "made"), train=40, val=1, size=(112, 112))
made.make()
rows = ["image,labels"]
for image_id in made.ids("train"):
    source = made.image_path(image_id)
    source.rename(root / "images" / source.name)
    rows.append(f"{source.name},{';'.join(made.tag_names(image_id))}")
(root / "labels.csv").write_text("\n".join(rows) + "\n")
PYTHON
  rm -r "$mine/made"
fi
find "$mine/images" -type f | sort | head -n 4 | xargs -I{} cp {} "$more/"

step import "$bin/tag2mask" data import "$mine"
step check "$bin/tag2mask" data check --data table --data-root "$mine"
step run "${stages[@]}" DATA=table DATA_ROOT="$mine" RUN="$run" BUDGET="$budget" ${weights:+WEIGHTS="$weights"}
step labels labels_show_something "$run/pseudo_label/score.json"
step tune "$bin/tag2mask" tune "$run" --images 8
step report "$bin/tag2mask" report "$run"
step predict "$bin/tag2mask" predict "$more" --checkpoint "$run" --out "${at}predictions" --overlay
step export "$bin/tag2mask" export "$run"
echo "all is well: $done commands in $SECONDS s"
