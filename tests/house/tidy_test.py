#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tidy_test.py - tidy finds what breaks a house rule, and nothing else"""
import pathlib
import tempfile

import tap

HEAD = "/* SPDX-License-Identifier: MIT */\n"
GOOD = {
    "src/meson.build": "subdir('vmm')\nsubdir('log')\nsubdir('base')\n",
    "src/base/meson.build": "files('bits.c')\n",
    "src/base/bits.c": HEAD + "/* bits.c - bits */\n#include \"base/bits.h\"\n"
                       "int f(void)\n{\n\treturn 0;\n}\n",
    "src/base/bits.h": HEAD + "/* bits.h - bits */\nint f(void);\n",
    "src/log/meson.build": "files('ring.c')\n",
    "src/log/ring.c": HEAD + "/* ring.c - a ring; never calls printf() */\n"
                      "#include \"base/bits.h\"\n"
                      "struct tide_ring {\n\tstruct tide_lock lock;\n"
                      "\tpthread_cond_t come;\n};\n"
                      "#ifdef TIDE_CHECKS\n\tprintf(\"x\");\n#endif\n",
    "tools/meson.build": "files('main.c')\n",
    "tools/main.c": HEAD + "/* main.c - the command */\n"
                    "#include <tidemark/base.h>\n#include \"names.h\"\n",
    "tools/names.h": HEAD + "/* names.h - names */\n",
    "tests/x_test.py": "# SPDX-License-Identifier: MIT\n"
                       "\"\"\"x_test.py - tests K1\"\"\"\n",
    "docs/known-bugs.md": "| K1 | x |\n",
    "docs/locking.md": "```\nName:      tide_ring.lock, with\n"
                       "           tide_ring.come\nType:      x\n"
                       "Protects:  x\nOrder:     x\nComment:   x\n```\n",
    "include/tidemark/base.h": HEAD + "/* tidemark/base.h - base */\n",
}
LONG = "{\n" + "\tf();\n" * 70 + "}\n"

# What is wrong: the file, its text, and a part of the finding.
BAD = {
    "a long function": ("src/log/ring.c", "int g(void)\n" + LONG,
                        "function of 72 lines"),
    "a wide line": ("src/log/ring.c", "\t" * 9 + "int wide_;\n",
                    "line of 82 columns"),
    "a file without a licence": ("src/log/x.h", "/* x.h - x */\n",
                                 "no SPDX line"),
    "a file without a purpose": ("src/log/x.h", HEAD, "purpose"),
    "two files of one name": ("src/log/bits.h", HEAD
                              + "/* bits.h - others */\n", "has the name of"),
    "a source that nobody builds": ("src/log/dead.c", HEAD
                                    + "/* dead.c - x */\n",
                                    "in no meson.build"),
    "a header that nobody includes": ("src/log/x.h", HEAD
                                      + "/* x.h - x */\n",
                                      "included by nobody"),
    "a script that nobody calls": ("scripts/x", "#!/bin/sh\n# SPDX-License-"
                                   "Identifier: MIT\n# x - x\n",
                                   "called by nobody"),
    "unfinished work": ("src/log/ring.c", "/* TO" "DO */\n", "TO" "DO"),
    "a path of one machine": ("NOTES.md", "see /wo" "rk/here\n", "/wo" "rk/"),
    "an include that points up": ("src/base/bits.c",
                                  "#include \"log/ring.h\"\n",
                                  "base is below log"),
    "a public header from above": ("src/log/ring.c",
                                   "#include <tidemark/vmm.h>\n",
                                   "log is below vmm"),
    "an include without its folder": ("src/log/ring.c",
                                      "#include \"bits.h\"\n",
                                      "without its folder"),
    "a private header in the command": ("tools/main.c",
                                        "#include \"base/bits.h\"\n",
                                        "is not public"),
    "a document that names a file that is gone": ("NOTES.md",
                                                  "see `src/log/gone.c`\n",
                                                  "no src/log/gone.c"),
    "a dead link": ("NOTES.md", "see [it](docs/gone.md)\n",
                    "no docs/gone.md"),
    "a document that names an edge that is gone": ("NOTES.md",
                                                   "see `ring.gone`\n",
                                                   "no ring.gone"),
    "a lock without its card": (
        "src/log/ring.c", "struct tide_more {\n\tstruct tide_lock lock;\n};\n",
        "tide_more.lock has no card"),
    "a condition without its card": (
        "src/log/ring.c", "static pthread_cond_t gone;\n",
        "gone has no card"),
    "a mutex outside the order": ("src/log/ring.c", "pthread_mutex_t m;\n",
                                  "is not a struct tide_lock"),
    "a card whose lock is gone": (
        "docs/locking.md", "```\nName:      tide_ring.gone\nType:      x\n"
        "Protects:  x\nOrder:     x\nComment:   x\n```\n",
        "tide_ring.gone is no lock"),
    "a card with a field missing": (
        "docs/locking.md", "```\nName:      RCU\nType:      x\nOrder:     x\n"
        "Comment:   x\n```\n", "a card of Name, Type, Order, Comment"),
    "a test that does not test it": (
        "NOTES.md", "K1 and\nK2 in `tests/x_test.py`\n", "K2 is not in"),
    "a bug that nobody knows": ("src/log/ring.c", "/* K" "99 */\n",
                                "not in docs/known-bugs.md"),
    "a library that prints unless it checks itself": (
        "src/log/ring.c", "#ifdef TIDE_CHECKS\n#else\n\tprintf(\"x\");\n"
        "#endif\n", "printf in the library"),
    "a library that prints": ("src/log/ring.c", "\tprintf(\"x\");\n",
                              "printf in the library"),
}


def tidy(files):
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in files.items():
            path = pathlib.Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tap.run_tool("tools/tidy.py", scratch)


def accepts():
    status, text = tidy(GOOD)
    assert status == 0, text


def refuses(name, added, finding):
    files = dict(GOOD)
    files[name] = files.get(name, "") + added
    status, text = tidy(files)
    assert status == 1 and finding in text, f"{status}: {text}"
    assert len(text.splitlines()) == 1 or "name" in finding \
        or "licence" in finding or name not in GOOD, text


tap.main([("accepts a tree in order", accepts)]
         + [(f"refuses {name}", lambda case=case: refuses(*case))
            for name, case in BAD.items()])
