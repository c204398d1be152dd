"""Reading CSV and Parquet strictly: what pandas would guess, pad or rename in silence is an error here.

A CSV file does not say what is text. A column is, where one of its values has a leading zero ("01" is a code, and not
"1"), or where it is in the trusted set: there, the same characters mean the same value in both.
"""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lotgate.data import Dataset
from lotgate.ingest.intake import MISSING, Intake, listed
from lotgate.ingest.labels import CODE, are_texts, as_text

CSV_SUFFIXES = (".csv",)
PARQUET_SUFFIXES = (".parquet", ".pq")
TABLE_SUFFIXES = CSV_SUFFIXES + PARQUET_SUFFIXES
#: What a CSV row number without a name is called, as pandas calls it.
UNNAMED = "Unnamed: "
MAGIC = (
    (b"PK\x03\x04", "ZIP archive"),
    (b"PK\x05\x06", "ZIP archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"PAR1", "Parquet file"),
    (b"%PDF", "PDF document"),
    (b"Rar!", "RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"GIF8", "GIF image"),
    (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"\x89HDF\r\n", "HDF5 file"),
    (b"\x7fELF", "program"),
    (b"MZ", "Windows program"),
    (b"<!DOCTYPE html", "HTML page"),
    (b"<html", "HTML page"),
    (b"<svg", "SVG drawing"),
    (b"<?xml", "XML document"),
    (b"\x80\x04", "pickle"),
    (b"\x93NUMPY", "NumPy array"),
    (b"version https://git-lfs", "Git LFS pointer (run `git lfs pull`)"),
)


def kind_of(head: bytes) -> str | None:
    """What a file is by its first bytes, in words; None where they say nothing."""
    return next((name for magic, name in MAGIC if head.startswith(magic)), None)


def read_frame(intake: Intake) -> pd.DataFrame:
    """The file as a frame with a fresh 0-based index, columns in file order.

    Raises:
        InputError: of the intake's role; not readable, no rows, ragged, duplicated columns, another encoding.
    """
    path = intake.path
    frame = _read_csv(intake) if path.suffix.lower() in CSV_SUFFIXES else _read_parquet(intake)
    if frame.empty:
        raise intake.error(f"{intake.noun} has no rows", "give a file with a header and at least one row")
    return frame


def _refuse_duplicates(columns: list[str], intake: Intake) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise intake.error(
            f"{intake.noun} has more than one column named {listed(twice)}",
            "rename or remove the duplicated columns",
        )


def _read_parquet(intake: Intake) -> pd.DataFrame:
    try:
        table = pq.read_table(intake.path)
    except (pa.ArrowException, OSError) as error:
        head = _head(intake.path)
        seen = f"it is a {kind_of(head)}" if kind_of(head) else "it does not begin like one"
        if head.startswith(b"PAR1") or not head:
            seen = f"it is damaged ({str(error).splitlines()[0]})" if head else "it has zero bytes"
        raise intake.error(
            f"not a Parquet file that can be read: {seen}", "export the table as Parquet again, or give a CSV file"
        ) from error
    _refuse_duplicates(table.column_names, intake)
    nested = [f.name for f in table.schema if pa.types.is_nested(f.type) or pa.types.is_binary(f.type)]
    nested = [name for name in nested if name not in intake.settings.ignore_columns]
    if nested:
        raise intake.error(
            f"{intake.noun} has columns of lists, records or raw bytes: {listed(nested)}",
            "flatten them to one value per column, or name them in `ingest.ignore_columns`",
        )
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _read_csv(intake: Intake) -> pd.DataFrame:
    header, codes = _check_csv(intake)
    label = [intake.target] if intake.target is not None else ["label", "target"]
    verbatim = {*label, "path", "source", "line"}  # where "NA" and "None" are names
    target = next((name for name in label if name in header), "")
    known = {} if intake.like is None else _trusted_texts(intake.like, target, header)
    texts = codes | known.keys()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                intake.path,
                encoding="utf-8-sig",
                names=header,
                header=0,
                index_col=False,
                dtype=dict.fromkeys(texts, "str"),
                low_memory=False,
                float_precision="round_trip",
                keep_default_na=False,
                na_values={name: [""] if name in verbatim else list(MISSING) for name in header},
            )
        columns = {
            name: _spelt(values, known[name]) if name in known else values if name in codes else _plain(values)
            for name, values in frame.items()
        }
        return pd.DataFrame(columns)
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError, OverflowError) as error:
        raise intake.error(
            f"the CSV file cannot be read: {str(error).splitlines()[0]}", "export the table again as plain CSV"
        ) from error


def _trusted_texts(like: Dataset, target: str, header: list[str]) -> dict[str, pd.Series]:
    """Columns that hold text in the trusted set, with their values. Classes are text whatever file they came from."""
    known = {target: pd.Series(like.classes, dtype=object)} if target and are_texts(like.classes) else {}
    if like.raw is not None:
        schema = pq.read_schema(like.raw)
        names = [n for n in header if n in schema.names and n != target and _is_text(schema.field(n).type)]
        raw = pd.read_parquet(like.raw, columns=names)
        known |= {name: as_text(raw[name]).drop_duplicates() for name in names}
    return known


def _spelt(texts: pd.Series, known: pd.Series) -> pd.Series:
    """Texts as the trusted set spells them: "1.0", as a column of 1 with gaps is exported, is "1" if only that is."""
    whole = texts.str.replace(r"^(-?[0-9]+)\.0+$", r"\1", regex=True)
    return texts.where(texts.isin(known) | ~whole.isin(known), whole)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _plain(values: pd.Series) -> pd.Series:
    """Whole numbers beyond 64 bits, which Parquet cannot hold, become floats, or text where even those end."""
    if values.dtype != object or pd.api.types.infer_dtype(values, skipna=True) == "boolean":
        return values
    try:
        return values.astype("float64")
    except (OverflowError, TypeError, ValueError):
        return as_text(values)


def _check_csv(intake: Intake) -> tuple[list[str], set[str]]:
    """Reads the file once for what pandas forgives: encoding, ragged rows, duplicated names, leading zeros.

    Returns:
        The header, and the names of the columns with a code such as "01".
    """
    kind = kind_of(_head(intake.path))
    if kind is not None:
        raise intake.error(f"not a CSV file: it is a {kind}", "give a CSV file with a header line")
    try:
        with intake.path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, None)
            if header is None or not any(header):
                raise intake.error(f"{intake.noun} is an empty file", "give a CSV file with a header line")
            codes: set[int] = set()
            for row in rows:
                if row and len(row) != len(header):
                    raise _ragged(intake, rows.line_num, len(row), len(header))
                likely = [i for i, value in enumerate(row) if "00" <= value < "0:" or "" < value < "!"]  # "!" after " "
                codes.update(i for i in likely if CODE.fullmatch(row[i]))
    except UnicodeDecodeError as error:
        raise _encoding(intake, error) from error
    except csv.Error as error:
        raise intake.error(
            f"the CSV file is malformed: {error}",
            "look for a quotation mark that is never closed, or export again as plain CSV",
            f"{intake.path}, line {rows.line_num}",
        ) from error
    named = [name or f"{UNNAMED}{i}" for i, name in enumerate(header)]
    _refuse_duplicates(named, intake)
    if len(named) == 1 and any(separator in named[0] for separator in ";\t|"):
        raise intake.error(
            f"the columns are not separated by commas: the header is {named[0]!r}", "export as comma-separated CSV"
        )
    return named, {named[i] for i in codes}


def _ragged(intake: Intake, line: int, found: int, expected: int) -> Exception:
    return intake.error(
        f"the row that ends on line {line:,} has {found} fields; the header has {expected}",
        "repair the row (often an unquoted comma), or export the table again",
        f"{intake.path}, line {line}",
    )


def _encoding(intake: Intake, error: UnicodeDecodeError) -> Exception:
    wide = _head(intake.path).startswith((b"\xff\xfe", b"\xfe\xff"))
    line = 1 if wide else _undecodable_line(intake.path)
    found = "it begins like UTF-16" if wide else f"byte 0x{error.object[error.start]:02x} on line {line:,}"
    guess = "UTF-16" if wide else "WINDOWS-1252"
    return intake.error(
        f"the CSV file is not UTF-8 text: {found}",
        f"convert it to UTF-8, for example: iconv -f {guess} -t UTF-8 old.csv > new.csv",
        f"{intake.path}, line {line}",
    )


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
