#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""embed.py - the pages of the command, as C

A page is an HTML file, in which

  {{style NAME...}}   is the text of these files in a style element,
  {{script NAME...}}  the same in a script element,
  {{csp}}             lets a content security policy allow these, and no other:
                      their SHA-256,
  {{data}}            is where the command puts what it has to show.

It becomes an array of the pieces before and after the data, web_NAME, which
tools/web.h declares.

Usage: embed.py PAGE.html... > web_pages.c
"""
import base64
import hashlib
import pathlib
import re
import sys

HEAD = """/* Made by embed.py: do not edit. */
#include "web.h"
"""


def digest(text):
    return "'sha256-" + base64.b64encode(
        hashlib.sha256(text.encode()).digest()).decode() + "'"


def assemble(page):
    """The text of a page, with what it includes."""
    found = {"style": [], "script": []}

    def include(match):
        kind, names = match.group(1), match.group(2).split()
        text = "\n" + "".join(
            (page.parent / name).read_text("utf-8") for name in names)
        assert f"</{kind}" not in text.lower(), names
        found[kind].append(digest(text))
        return f"<{kind}>{text}</{kind}>"

    text = re.sub(r"\{\{(style|script) ([^}]+)\}\}", include,
                  page.read_text("utf-8"))
    policy = "; ".join(f"{kind}-src {' '.join(sums)}"
                       for kind, sums in found.items() if sums)
    return text.replace("{{csp}}", policy)


def as_array(name, data):
    lines = [",".join(map(str, data[at:at + 19]))
             for at in range(0, len(data), 19)]
    return (f"\nstatic const unsigned char {name}[] = {{\n"
            + ",\n".join(lines) + "\n};\n")


def main(paths):
    out = HEAD
    for path in map(pathlib.Path, paths):
        pieces = [piece.encode() for piece in
                  assemble(path).split("{{data}}")]
        for at, piece in enumerate(pieces):
            out += as_array(f"{path.stem}_{at}", piece)
        out += f"\nconst struct web_piece web_{path.stem}[] = {{\n"
        for at in range(len(pieces)):
            out += f"\t{{ {path.stem}_{at}, sizeof({path.stem}_{at}) }},\n"
        out += "};\n"
    sys.stdout.write(out)


if __name__ == "__main__":
    main(sys.argv[1:])
