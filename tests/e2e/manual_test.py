#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""manual_test.py - do the manual pages say what the headers say?

Every public function has a page in section 3 and a name under which man(1)
finds it; every SYNOPSIS declares what the headers declare, as C and as C++;
every example of C compiles; every command and every option has its place in
section 1; and mandoc has nothing to say.

Usage: manual_test.py TIDEMARK
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

TREE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TREE / "tests" / "house"))
import tap  # noqa: E402  (found only now)

TIDEMARK = sys.argv[1]
PAGES = sorted((TREE / "man").glob("man?/*.?"))
CALLS = sorted((TREE / "man" / "man3").glob("*.3"))
LANGUAGES = {"c": "gnu11", "c++": "c++17"}


def run(*command, text=None):
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8",
                          check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def section(page, name):
    """The lines of a section of a page."""
    match = re.search(rf"^\.Sh {name}\n(.*?)(?=^\.Sh |\Z)",
                      page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return match.group(1) if match else ""


def names(page):
    return re.findall(r"^\.Nm (\S+)", section(page, "NAME"), re.MULTILINE)


def public_functions():
    """Every function that a public header declares."""
    found = set()
    for header in (TREE / "include" / "tidemark").glob("*.h"):
        code = re.sub(r"/\*.*?\*/", "", header.read_text("utf-8"),
                      flags=re.DOTALL)
        found |= set(re.findall(r"\b(tide_\w+)\s*\(", code))
    assert len(found) > 30, "the headers look empty"
    return found


def compile_text(text, what):
    # A manual shows what works in both languages.
    for language, standard in LANGUAGES.items():
        done = subprocess.run(
            [os.environ.get("CC", "cc"), "-x", language, f"-std={standard}",
             "-D_GNU_SOURCE", "-Wall", "-Werror", "-fsyntax-only",
             f"-I{TREE}/include", "-"],
            input=text, stderr=subprocess.PIPE, encoding="utf-8", check=False)
        assert done.returncode == 0, f"{what} as {language}\n{done.stderr}"


def synopsis_code(page):
    """The SYNOPSIS as declarations behind the includes it asks for."""
    text = section(page, "SYNOPSIS")
    code = [f"#include <{name}>" for name in
            re.findall(r"^\.In (\S+)", text, re.MULTILINE)]
    code += ["#ifdef __cplusplus", 'extern "C" {', "#endif"]
    declared = []
    for match in re.finditer(r"^\.Ft (.+)\n\.Fo (\S+)\n((?:\.Fa .+\n)+)\.Fc",
                             text, re.MULTILINE):
        arguments = re.findall(r'^\.Fa "?(.+?)"?$', match.group(3),
                               re.MULTILINE)
        code.append(f"{match.group(1)} {match.group(2)}"
                    f"({', '.join(arguments)});")
        declared.append(match.group(2))
    code += ["#ifdef __cplusplus", "}", "#endif", ""]
    return "\n".join(code), declared


def test_lint():
    if not shutil.which("mandoc"):
        return
    said = run("mandoc", "-T", "lint", "-W", "warning", *map(str, PAGES))
    assert not said, said


def test_every_function():
    documented = [name for page in CALLS for name in names(page)]
    assert len(documented) == len(set(documented)), "a call on two pages"
    assert public_functions() == set(documented), \
        public_functions() ^ set(documented)


def test_links():
    build = (TREE / "man" / "meson.build").read_text("utf-8")
    families = dict(re.findall(r"'(tide_\w+)': \[(.*?)\]", build, re.DOTALL))
    for page in CALLS:
        assert page.stem == names(page)[0], f"{page.name} begins otherwise"
        linked = re.findall(r"'(\w+)'", families[page.stem])
        assert linked == names(page)[1:], f"links to {page.name}"
    assert len(families) == len(CALLS)


def test_synopsis():
    for page in CALLS:
        code, declared = synopsis_code(page)
        assert declared == names(page), f"{page.name} declares {declared}"
        compile_text(code, f"SYNOPSIS of {page.name}")


def test_examples():
    seen = 0
    for page in PAGES:
        for text in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed",
                               section(page, "EXAMPLES"),
                               re.MULTILINE | re.DOTALL):
            if "#include" not in text:
                continue
            seen += 1
            compile_text(text, f"example of {page.name}")
    assert seen >= 3, "examples are gone"


def test_references():
    """Every .Xr to one of ours goes to a page that there is."""
    there = {(name, page.suffix[1:]) for page in PAGES for name in names(page)}
    for page in PAGES:
        for name, number in re.findall(
                r"(?:^\.Xr| Xr) (\S+) (\d)", page.read_text("utf-8"),
                re.MULTILINE):
            if name.startswith("tide"):
                assert (name, number) in there, f"{page.name}: {name}"


def test_commands():
    commands = re.findall(r"^  (\w+) ", run(TIDEMARK, "help"), re.MULTILINE)
    assert "demo" in commands
    for command in commands:
        if command in ("version", "help"):
            continue
        page = TREE / "man" / "man1" / f"tidemark-{command}.1"
        text = page.read_text("utf-8")
        usage = run(TIDEMARK, command, "--help")
        given = set(re.findall(r"^  --([a-z-]+)", usage, re.MULTILINE))
        written = set(re.findall(r"Fl -([a-z-]+)", text))
        missing = given - written - {"help"}
        assert not missing, f"{page.name} lacks {missing}"
        assert not written - given, f"{page.name}: no such {written - given}"


tap.main([
    ("mandoc has nothing to say" + (
        "" if shutil.which("mandoc") else " # SKIP mandoc is missing"),
     test_lint),
    ("every public function has one page", test_every_function),
    ("every call has a name that man finds", test_links),
    ("every SYNOPSIS compiles and agrees with the headers", test_synopsis),
    ("every example compiles", test_examples),
    ("every reference leads somewhere", test_references),
    ("every command and option is described", test_commands),
])
