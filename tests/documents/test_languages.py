"""Languages besides Python: what is public in them, as the API reference shows it."""

from __future__ import annotations

import json
import sys
from textwrap import dedent

import pytest
from markdown_it import MarkdownIt

from vespera_orchestrator.documents.sections import section_contents
from vespera_orchestrator.documents.sources.languages import (
    LANGUAGES,
    SUFFIXES,
    language_of,
    reader_process,
    table,
)
from vespera_orchestrator.documents.sources.languages.reader_process import ReaderProcess
from vespera_orchestrator.documents.tree import READ_SUFFIXES

pytestmark = pytest.mark.skipif(
    not all(language.is_installed for language in LANGUAGES.values()),
    reason="the extra 'languages' is not installed",
)


def read(path: str, source: str):
    """Read a file, and return what it defines by name."""
    file = language_of(path).read(dedent(source).lstrip("\n"))
    return {definition.name: definition for definition in file.definitions}, file


def members(definition) -> dict[str, str]:
    """Return the signature of each member, by name."""
    return {member.name: member.signature for member in definition.members}


def test_typescript_shows_what_is_exported():
    """Overloads once each, public members only, and what a comment says in lists."""
    names, file = read(
        "kettle.ts",
        """
        /** Boiling water. @packageDocumentation */
        import { Leaf } from "./leaf";

        /**
         * Boil some; see {@link BOILING}.
         * @param litres - How much.
         * @returns The temperature.
         * @throws {RangeError} When there is none.
         * @example
         * boil(2);
         */
        export function boil(litres: number): number {
          return BOILING;
        }
        export const BOILING = 100;
        /** @deprecated Use {@link Pot}. */
        export abstract class Kettle<T = Leaf> extends Base {
          /** Its volume. */
          readonly litres: number = 1;
          private secret = 2;
          #hidden = 3;
          fill(litres: number): void;
          fill(litres: string): void;
          fill(litres: any): void {}
          get isFull(): boolean { return true; }
        }
        export interface Pot { name: string; pour(cups?: number): string[] }
        export enum Size { /** For one. */ Small = 1, Large }
        export type Mode = "slow" | "quick";
        /** @internal */
        export function inner() {}
        function plain() {}
        function over(a: string): string;
        function over(a: number): number;
        function over(a: any) { return a; }
        export { over, plain as shown };
        export * from "./leaf";
        export default class Main {}
        export function long(
          one: string,
        ): void {}
        """,
    )
    assert list(names) == [
        *("boil", "BOILING", "Kettle", "Pot", "Size", "Mode", "over", "shown", "Main", "long")
    ]
    boil = names["boil"]
    assert boil.signature == "function boil(litres: number): number"
    assert "Boil some; see `BOILING`." in boil.doc
    assert "**Parameters**\n\n- `litres`: How much." in boil.doc
    assert "**Throws**\n\n- `RangeError`: When there is none." in boil.doc
    assert "**Example**\n\n```js\nboil(2);\n```" in boil.doc
    assert names["BOILING"].signature == "const BOILING = 100"
    assert names["Kettle"].deprecated == "Use `Pot`."
    assert members(names["Kettle"]) == {
        "litres": "readonly litres: number = 1",
        "fill": "fill(litres: number): void\nfill(litres: string): void",
        "isFull": "get isFull(): boolean",
    }
    assert members(names["Pot"])["pour"] == "pour(cups?: number): string[]"
    assert names["Size"].members[0].summary == "For one."
    assert names["over"].signature.count("function over(") == 2
    assert names["shown"].signature == "function shown()"
    assert names["long"].signature == "function long(\n  one: string,\n): void"
    assert names["Main"].note == "default export"
    assert file.comment.summary == "Boiling water."
    assert [each.source for each in file.reexports] == ["./leaf"]


def test_javascript_knows_both_ways_to_export():
    """ECMAScript's own, and the older one of Node."""
    names, _ = read(
        "old.cjs",
        """
        /** Old way. */
        function old(name, opts) {}
        module.exports = { old, twice: (x) => 2 * x, version: "1" };
        exports.extra = function (a) { return a; };
        """,
    )
    assert {name: each.signature for name, each in names.items()} == {
        "old": "function old(name, opts)",
        "twice": "twice = (x)",
        "version": 'version = "1"',
        "extra": "extra = function (a)",
    }


def test_go_shows_what_begins_with_a_capital():
    """Methods come to their types; a comment on the same line counts."""
    names, file = read(
        "tea.go",
        """
        // Package tea makes tea.
        //
        //\ttea.Brew(1)
        // Then drink.
        package tea

        const (
        \tSmall = iota // for one
        \thidden
        )

        // Pot holds tea.
        type Pot struct {
        \tCups int `json:"cups"`
        \tinner int
        }

        // Pour pours.
        func (p *Pot) Pour(cups int) (int, error) { return 0, nil }
        func (p *Pot) secret() {}

        type Brewer interface {
        \t// Brew does it.
        \tBrew(ctx Context) (*Pot, error)
        }

        // Brew makes a pot.
        func Brew[T any](leaf T, opts ...Option) *Pot {
        \treturn nil
        }
        """,
    )
    assert list(names) == ["Small", "Pot", "Brewer", "Brew"]
    assert file.package == "tea"
    assert file.comment.doc == "Package tea makes tea.\n\n```go\ntea.Brew(1)\n```\n\nThen drink."
    assert names["Small"].summary == "for one"
    assert members(names["Pot"]) == {"Cups": "Cups int"}
    assert [each.signature for each in file.methods["Pot"]] == [
        "func (p *Pot) Pour(cups int) (int, error)"
    ]
    assert members(names["Brewer"]) == {"Brew": "Brew(ctx Context) (*Pot, error)"}
    assert names["Brew"].signature == "func Brew[T any](leaf T, opts ...Option) *Pot"


def test_rust_shows_what_is_public_to_everybody():
    """Attributes may stand between a comment and what it is about."""
    names, file = read(
        "lib.rs",
        """
        //! Tea.
        mod inner;
        pub mod leaves;
        pub use inner::{Pot, brew as make};

        /// A pot.
        ///
        /// # Panics
        ///
        /// Never.
        #[derive(Debug)]
        pub struct Mug<T> { pub cups: usize, secret: T }
        impl<T> Mug<T> {
            /// New.
            #[deprecated(note = "use `make`")]
            pub fn new(cups: usize) -> Self { todo!() }
            fn private(&self) {}
        }
        impl<T> Drop for Mug<T> { fn drop(&mut self) {} }
        pub(crate) fn hidden() {}
        pub trait Steep { fn steep(&self) -> u8; }
        pub enum Leaf { Assam, Green(u8) }
        """,
    )
    assert list(names) == ["Mug", "Steep", "Leaf"]
    assert names["Mug"].doc == "A pot.\n\n**Panics**\n\nNever."
    assert members(names["Mug"]) == {"cups": "pub cups: usize"}
    (new,) = file.methods["Mug"]
    assert (new.signature, new.deprecated) == ("pub fn new(cups: usize) -> Self", "use `make`")
    assert members(names["Leaf"]) == {"Assam": "Assam", "Green": "Green(u8)"}
    assert file.submodules == {"inner": False, "leaves": True}
    assert [(each.name, each.public_name) for each in file.reexports] == [
        ("Pot", "Pot"),
        ("brew", "make"),
    ]


def test_java_shows_public_types_and_members():
    """Overloads together, HTML as Markdown, types within types by their whole name."""
    names, file = read(
        "Pot.java",
        """
        package com.acme.tea;

        /**
         * A pot of {@code tea}.
         *
         * <p>Holds <b>cups</b>:
         * <ul>
         *   <li>one
         *   <li>two
         * </ul>
         * @param <T> the leaf
         */
        public final class Pot<T extends Leaf> implements Vessel {
            /** How many. */
            public static final int CUPS = 12;
            private int x;
            /** Pours. */
            @Override
            public List<String> pour(int cups) throws ColdException { return null; }
            public List<String> pour() { return null; }
            public enum Size { SMALL, LARGE }
            void hidden() {}
        }
        """,
    )
    assert file.package == "com.acme.tea"
    assert list(names) == ["Pot", "Pot.Size"]
    assert "A pot of `tea`." in names["Pot"].doc
    assert "Holds **cups**:\n\n- one\n- two" in names["Pot"].doc
    assert members(names["Pot"]) == {
        "CUPS": "public static final int CUPS = 12",
        "pour": "public List<String> pour(int cups) throws ColdException\n"
        "public List<String> pour()",
    }
    assert members(names["Pot.Size"]) == {"SMALL": "SMALL", "LARGE": "LARGE"}


def test_c_shows_what_a_header_declares():
    """Also between the lines of the preprocessor."""
    names, file = read(
        "tea.h",
        """
        /** @file
         * @brief Tea for C. */
        #ifndef TEA_H
        #define TEA_H
        #ifdef __cplusplus
        extern "C" {
        #endif
        #define TEA_MAX 12
        /** A pot. */
        typedef struct tea_pot {
            int cups; /**< How many. */
        } tea_pot;
        typedef void (*tea_callback)(int cups, void *data);
        /**
         * Brew a pot.
         * @param[in] cups How many.
         */
        tea_pot *tea_brew(int cups);
        static int helper(void);
        #ifdef __cplusplus
        }
        #endif
        #endif
        """,
    )
    assert list(names) == ["TEA_MAX", "tea_pot", "tea_callback", "tea_brew"]
    assert file.comment.summary == "Tea for C."
    assert names["tea_brew"].signature == "tea_pot *tea_brew(int cups)"
    assert "- `cups`: How many." in names["tea_brew"].doc
    assert names["tea_pot"].members[0].summary == "How many."


# --- in the document --------------------------------------------------------------


@pytest.fixture
def reference(make_project):
    """Return what the API reference says of some files."""

    def update(files: dict[str, str]) -> str:
        project = make_project()
        for path, text in files.items():
            project.write(path, text)
        project.complete("Add tea")
        project.documents.update()
        return section_contents(project.text("API_REFERENCE.md"))["api"]

    return update


def test_modules_are_what_each_language_means_by_it(reference):
    """A crate's public modules, a package's import path; no tests, nor what is internal."""
    text = reference(
        {
            "go/go.mod": "module example.com/tea\n",
            "go/tea.go": "package tea\n\ntype Pot struct{}\n",
            "go/more.go": "package tea\n\n// Pour pours.\nfunc (p *Pot) Pour() {}\n",
            "go/tea_test.go": "package tea\n\nfunc TestPot() {}\n",
            "go/internal/x.go": "package x\n\nfunc Hidden() {}\n",
            "go/cmd/main.go": "package main\n\nfunc Main() {}\n",
            "rust/Cargo.toml": '[package]\nname = "tea-pot"\n',
            "rust/src/lib.rs": "mod inner;\npub mod leaves;\npub use inner::brew as make;\n"
            "pub use leaves::Leaf;\n",
            "rust/src/inner.rs": "/// Brew.\npub fn brew() {}\npub fn unseen() {}\n",
            "rust/src/leaves.rs": "pub struct Leaf;\n",
            "web/index.ts": 'export * from "./pot";\n',
            "web/pot.ts": "export function pour() {}\n",
            "web/pot.test.ts": "export function nothing() {}\n",
        }
    )
    headings = [line for line in text.splitlines() if line.startswith("##")]
    assert headings == [
        *("### `example.com/tea`", "#### `Pot`", "##### `Pot.Pour`"),
        *("### `tea_pot`", "#### `make`", "### `tea_pot::leaves`", "#### `Leaf`"),
        *("### `web/index`", "### `web/pot`", "#### `pour`"),
    ]
    assert "pub fn make()" in text
    assert "Also here: `tea_pot::leaves::Leaf`." in text
    assert "Also here: everything in `web/pot`." in text


def test_a_new_process_reads_only_what_is_new(make_project, monkeypatch):
    """All that a file says comes back as it was; another release of a grammar reads it again."""
    read = []
    real = ReaderProcess.read

    def noted(reader, ending, source):
        read.append(LANGUAGES[ending].name)
        return real(reader, ending, source)

    monkeypatch.setattr(ReaderProcess, "read", noted)
    project = make_project()
    go = "// Package tea makes tea.\npackage tea\n\n// Brew.\nfunc (p *Pot) Brew(cups int) {}\n"
    project.write("tea.go", f"{go}\ntype Pot struct{{}}\n")
    project.write("src/lib.rs", "mod inner;\npub use inner::brew as make;\n")
    project.write("src/inner.rs", "/// Brew.\npub fn brew(cups: u8) {}\n")
    project.complete("Add tea")
    project.documents.update()
    shown = section_contents(project.text("API_REFERENCE.md"))["api"]
    assert (sorted(read), "Pot.Brew" in shown) == (["Go", "Rust", "Rust"], True)
    read.clear()
    project.path("API_REFERENCE.md").unlink()
    project.opened().update(only="API_REFERENCE.md")
    assert (read, section_contents(project.text("API_REFERENCE.md"))["api"]) == ([], shown)
    where = "vespera_orchestrator.documents.sources.other_languages.grammar_stamp"
    monkeypatch.setattr(where, lambda grammar: f"another {grammar}")
    project.opened().update(only="API_REFERENCE.md")
    assert sorted(read) == ["Go", "Rust", "Rust"]


def test_what_cannot_be_read_is_named(make_project, monkeypatch):
    """In the document, and to whoever updates it with what helps."""
    monkeypatch.setattr(table, "is_installed", lambda grammar: grammar != "go")
    project = make_project()
    for name in ("a.go", "b.go", "c.rb"):
        project.write(name, "package tea\n\nfunc Brew() {}\n")
    project.write("d.h", "namespace tea { class Pot; }\n")
    project.complete("Add tea")
    report = project.documents.update()
    assert "Not described here: C++ (1 file), Go (2 files), Ruby (1 file)." in project.text(
        "API_REFERENCE.md"
    )
    assert "no public names" not in project.text("API_REFERENCE.md"), "that is not known"
    assert "leaves out Go (2 files): pip install 'vespera-orchestrator[languages]'" in str(report)


@pytest.mark.skipif(sys.platform == "win32", reason="nothing bounds a process there")
def test_a_file_that_fills_the_memory_is_named_and_the_others_are_read(make_project):
    """A header of some kilobytes may take gigabytes to read; it costs only itself, and only
    once.
    """
    project = make_project()
    project.write("include/bomb.h", "a=>" * 10_000)
    project.write("include/tea.h", "/* Brew. */\nint brew(int cups);\n")
    project.write("src/pot.js", "export function pour() {}\n")
    project.complete("Add tea")
    report = project.documents.update()
    text = project.text("API_REFERENCE.md")
    assert "leaves out include/bomb.h: reading takes more than 20 s or 1.5 GB" in str(report)
    assert "Not described here: C (1 file)." in text
    assert "#### `brew`" in text
    assert "#### `pour`" in text


def test_files_are_read_by_a_process_that_ends_with_the_block():
    """It answers one file after the other, and is replaced when it was ended."""
    with ReaderProcess() as reader:
        file = reader.read(".h", "/* Brew. */\nint brew(int cups);\n")
        process = reader._process
        assert [definition.name for definition in file.definitions] == ["brew"]
        assert reader.read(".js", "export function pour() {}\n").is_readable
        assert reader._process is process
        process.kill()
        process.wait()
        assert not reader.read(".h", "int brew(int cups);\n").is_readable
        assert reader.read(".h", "int brew(int cups);\n").definitions
    assert process.poll() is not None
    assert reader._process is None


def test_a_reader_that_does_not_start_says_nothing_of_the_file(monkeypatch, tmp_path):
    """It is not remembered then that nobody can read it."""
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(1)")
    monkeypatch.setattr(reader_process, "_PROGRAM", broken)
    with ReaderProcess() as reader, pytest.raises(OSError, match="does not start"):
        reader.read(".h", "int brew(int cups);\n")


def test_a_package_of_npm_shows_what_it_brings_out(reference):
    """Under the names that ``package.json`` gives, also of what is built; nothing else."""
    text = reference(
        {
            "web/package.json": json.dumps(
                {
                    "name": "@tea/pot",
                    "exports": {
                        ".": {"types": "./dist/index.d.ts", "import": "./dist/index.js"},
                        "./cups": "./src/cups.ts",
                        "./styles/*": "./styles/*.css",
                    },
                }
            ),
            "web/src/index.ts": 'export * from "./inner";\nexport { pour as fill } from "./pour";\n'
            'export * from "tea-leaves";\n',
            "web/src/inner/index.ts": 'export function brew(): void {}\nexport * from "./deep";\n',
            "web/src/inner/deep.ts": "export const LONGEST = 5;\n",
            "web/src/pour.ts": "export function pour(): void {}\nexport function spill() {}\n",
            "web/src/cups.ts": "export class Cup {}\n",
            "other/package.json": "{not json",
            "other/tool.js": "export function tool() {}\n",
        }
    )
    headings = [line for line in text.splitlines() if line.startswith("##")]
    assert headings == [
        *("### `other/tool`", "#### `tool`"),
        *("### `@tea/pot`", "#### `brew`", "#### `fill`", "### `@tea/pot/cups`", "#### `Cup`"),
    ]
    assert "- `const LONGEST = 5`" in text
    assert "function fill(): void" in text
    assert "Also here: everything in `tea-leaves`." in text
    assert "spill" not in text


def test_the_architecture_names_what_it_does_not_draw(make_project):
    """Rather than to say that there is nothing."""
    project = make_project()
    project.write("src/pot.rs", "pub fn pour() {}\n")
    project.write("src/lib.rs", "pub mod pot;\n")
    project.complete("Add tea")
    project.documents.update()
    components = section_contents(project.text("ARCHITECTURE.md"))["components"]
    assert components == "Not drawn, as only the imports of Python are read: Rust (2 files)."


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a.ts", "export const x = `\n```\n<!-- vespera:end api -->\n# Owned\n`;\n"),
        ("a.ts", "export function f(a = `\n```\n<!-- vespera:end api -->\n# Owned\n`) {}\n"),
        ("a.ts", "/**\n * ```\n * <!-- vespera:end api -->\n * # Owned\n */\nexport class A {}\n"),
        ("a.ts", "export class A { [`\n```\n# Owned\n`]() {} }\n"),
        ("a.h", "#ifdef A\n" * 3000 + "int f(void);\n" + "#endif\n" * 3000),
        ("a.rs", "/// <!-- vespera:end api -->\n/// # Owned\npub fn f() {}\n"),
        ("a.go", "package a\n\n/*\n<!-- vespera:end api -->\n# Owned\n*/\nfunc F() {}\n"),
    ],
)
def test_no_source_forms_a_heading_or_a_marker(reference, path, source):
    """Text that others wrote is data, in code as in comments."""
    text = reference({path: source, "b.ts": "export function last() {}\n"})
    tokens = MarkdownIt("commonmark").parse(text)
    headings = [each for each in tokens if each.type == "heading_open" and each.tag == "h1"]
    assert headings == []
    assert "function last()" in text


def test_the_tree_has_all_that_is_read():
    """A language whose files no tree lists would stay unseen."""
    assert set(SUFFIXES) <= set(READ_SUFFIXES)
