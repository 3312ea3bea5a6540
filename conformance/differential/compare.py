"""Two observations of one command: where do they differ? And the table of expected.md, which says where they may."""

import json
import re
import zlib
from dataclasses import dataclass

SHOWN = 220


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same: which command of which case, what of it, and what each said."""

    case: str
    number: int
    what: str
    ours: str
    theirs: str

    @property
    def place(self):
        """Where it is, as in the first two columns of the table."""
        return (f"{self.case} {self.number}", self.what)


def cell(value):
    """A value as a cell of the table."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.strip("\n").replace("\n", "⏎").replace("|", "¦").replace("`", "´")
    # What isn't shown counts all the same.
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({zlib.crc32(text.encode()):08x})"


def document(text):
    """The JSON object or list that a text is, or None."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, (dict, list)) else None


def flat(value, pointer=""):
    """Pointer → scalar or list of scalars."""
    if isinstance(value, dict) and value:
        return {p: v for key, inner in value.items() for p, v in flat(inner, f"{pointer}/{key}").items()}
    if isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        return {p: v for i, inner in enumerate(value) for p, v in flat(inner, f"{pointer}/{i}").items()}
    return {pointer: value}


def shape(value):
    """The pointers of a document, list indices and page sizes aside: for documents whose numbers differ from run to run."""
    return sorted({re.sub(r"/\d+(?:[KMG]B)?(?=/|$)", "/*", pointer) for pointer in flat(value)})


def flags(text):
    """The long flags in a help text."""
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)) - {"--help"})


def viewed(text, view):
    """A text as the case wants it looked at."""
    if view == "flags":
        return flags(text)
    if view == "shape":
        return [shape(json.loads(line)) for line in text.splitlines()][:1]
    if view == "lines":
        return sorted(text.splitlines())
    if view == "words":
        return [line.split() for line in text.splitlines()]
    if view == "nothing":
        return []
    return document(text) if document(text) is not None else text


def pairs(ours, theirs):
    """What differs between two values: (suffix of the name, ours, theirs)."""
    if isinstance(ours, (dict, list)) and isinstance(theirs, (dict, list)):
        left, right = flat(ours), flat(theirs)
        for pointer in sorted(left.keys() | right.keys()):
            a, b = left.get(pointer, ""), right.get(pointer, "")
            if isinstance(a, list) and isinstance(b, list):
                a, b = [x for x in a if x not in b], [x for x in b if x not in a]
            if a != b:
                yield f" {pointer}".rstrip(), a, b
    elif ours != theirs:
        yield "", ours, theirs


def differences(case, ours, theirs):
    """Everything in which two runs of a case differ."""
    found = []
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True), 1):
        for channel in sorted(a.values.keys() | b.values.keys()):
            view = case.view if channel == "stdout" else None
            left, right = (viewed(str(x.values.get(channel, "")), view) if channel != "exit" else x.values[channel] for x in (a, b))
            found += [Difference(case.name, number, channel + suffix, cell(x), cell(y)) for suffix, x, y in pairs(left, right)]
    return found


class Table:
    """The rows of expected.md: `case number`, what, ours, theirs, why."""

    def __init__(self, path):
        self.rows = {}
        with open(path) as text:
            for line in text:
                cells = [c.strip() for c in line.strip().strip("|").split("|")]
                if line.startswith("| `") and len(cells) == 5:
                    place, what, ours, theirs, why = cells
                    key = (place.strip("`"), what)
                    if key in self.rows:
                        raise SystemExit(f"expected.md: two rows for {' '.join(key)}")
                    if not why or why == "?":
                        raise SystemExit(f"expected.md: {' '.join(key)}: no reason")
                    self.rows[key] = (unquoted(ours), unquoted(theirs), why)

    def of(self, case):
        """The rows of one case."""
        return {key: row for key, row in self.rows.items() if key[0].rsplit(" ", 1)[0] == case}


def quoted(text):
    """A cell's text in Markdown."""
    return f"`{text}`" if text else "nothing"


def unquoted(text):
    """The other way."""
    return "" if text == "nothing" else text.removeprefix("`").removesuffix("`")


def row(difference, why):
    """A line of the table."""
    place, what = difference.place
    return f"| `{place}` | {what} | {quoted(difference.ours)} | {quoted(difference.theirs)} | {why} |"


def judge(case, found, table):
    """Complaints about a case, each with its line: differences that are not listed as they are, and rows that no longer hold."""
    rows, complaints = table.of(case), []
    for difference in found:
        expected = rows.pop(difference.place, None)
        if expected is None:
            complaints.append((difference.place[0], f"not listed:  {row(difference, '?')}"))
        elif expected[:2] != (difference.ours, difference.theirs):
            complaints.append((difference.place[0], f"not as listed:  {row(difference, '?')}"))
    return complaints + [(place, f"listed, but it is no difference any more: {place} {what}") for place, what in rows]
