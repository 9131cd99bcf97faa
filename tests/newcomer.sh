#!/usr/bin/env bash
# What a new user does, by the words of README and docs, in a fresh clone and a fresh environment; a line with
# seconds for each command.
#
#   tests/newcomer.sh                  everything (the environment alone takes minutes and 6 GB)
#   tests/newcomer.sh --no-setup       take this checkout and its environment (VENV); leave README's two commands out
#   tests/newcomer.sh --photos DIR     DIR/images and DIR/labels.csv instead of generated photos
#   tests/newcomer.sh --budget small   the budget for the photos (default: demo, which suits the generated ones)
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
setup=yes budget=demo photos=
while [ $# -gt 0 ]; do
  case $1 in
    --no-setup) setup=no ;;
    --photos) photos=$(cd "$2" && pwd); shift ;;
    --budget) budget=$2; shift ;;
    *) echo "unknown option $1; the head of $0 lists them" >&2; exit 2 ;;
  esac
  shift
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# step NAME COMMAND...: its seconds, or its output and the end
step() {
  local name=$1 begun=$SECONDS
  shift
  if "$@" >"$folder/log" 2>&1; then
    printf '%-9s %5d s   %s\n' "$name" $((SECONDS - begun)) "$*"
  else
    printf '%-9s FAILED   %s\n' "$name" "$*"
    tail -n 40 "$folder/log"
    exit 1
  fi
}

if [ $setup = yes ]; then
  step clone git clone -q "$repository" "$folder/tag2mask"
  cd "$folder/tag2mask"
  step demo make demo
  step test make test
else
  cd "$repository"
fi
bin=$(cd "${VENV:-.venv}/bin" && pwd)
export PATH=$bin:$PATH

# 40 photos in a plain folder, and a table as somebody would type it
mine=$folder/my_photos more=$folder/more_photos
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

run=$folder/run
step import tag2mask data import "$mine"
step check tag2mask data check --data table --data-root "$mine"
step run tag2mask run psa --data table --data-root "$mine" --run-dir "$run" --budget "$budget"
step tune tag2mask tune "$run" --images 8
step report tag2mask report "$run"
step predict tag2mask predict "$more" --checkpoint "$run" --out "$folder/predictions" --overlay
step export tag2mask export "$run"
