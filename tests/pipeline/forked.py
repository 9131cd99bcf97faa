"""Runs commands of steps one after another in one process, whose devices are forks of it.

The imports, which take longer than a tiny training, are then made once. The argument is a JSON list of
commands, each the words behind ``tag2mask step``.
"""

from __future__ import annotations

import json
import sys

from tag2mask.step import main

if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        if code := main(words[0], words[1:]):
            sys.exit(f"{words} ended with {code}")
