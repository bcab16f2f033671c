"""Many products at once: valid rows are written, others reported with their line, and interrupted imports continue."""

import csv
import json
import subprocess
import sys
import threading
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.storage import store
from services.products.bulk import files, upsert
from services.products.bulk.rows import Rows
from services.products.models import Product
from tests.products.conftest import described
from tests.products.test_listing import pages

ROOT = Path(__file__).parents[2]
HEADER = "sku,name,description,category,price,currency,stock_quantity,is_active\n"


def csv_of(*lines):
    return HEADER + "".join(f"{line}\n" for line in lines)


def json_of(*products):
    return "".join(json.dumps(product) + "\n" for product in products)


@pytest.fixture
def send(http, staff):
    def post(text, kind="text/csv", headers=staff):
        return http.post("/products/import", data=text, content_type=kind, headers=headers)

    return post


@pytest.mark.parametrize("kind", ["text/csv", "application/x-ndjson"])
def test_rows_become_products(http, send, kind):
    wanted = described(sku="K-1", name='Kettle, "big"', description="Two\nlines.", stock_quantity=3)
    text = csv_of('K-1,"Kettle, ""big""","Two\nlines.",kitchen,12.50,,3,') if kind == "text/csv" else json_of(wanted)
    report = send(text, kind).json
    lines = 3 if kind == "text/csv" else 1
    assert report == {
        "lines": lines, "added": 1, "updated": 0, "unchanged": 0, "refused": 0, "stock_ignored": 0, "rows": [],
    }  # fmt: skip
    (shown,) = http.get("/products/").json["items"]
    assert {**wanted, "currency": "EUR", "is_active": True}.items() <= shown.items()


def test_a_row_with_an_existing_sku_updates_that_product_but_not_its_stock(http, send, staff):
    send(csv_of("K-1,Kettle,Old,kitchen,10.00,,3,", "K-2,Cup,,kitchen,2.00,,1,"))
    (kettle,) = [one for one in http.get("/products/").json["items"] if one["sku"] == "K-1"]
    http.delete(f"/products/{kettle['id']}", headers=staff)
    report = send(csv_of("K-1,Kettle,New,kitchen,10.00,,9,", "K-2,Cup,,kitchen,2.00,,1,")).json
    assert (report["updated"], report["unchanged"], report["stock_ignored"]) == (1, 1, 1)
    shown = http.get(f"/products/{kettle['id']}", headers=staff).json
    assert (shown["description"], shown["stock_quantity"], shown["version"]) == ("New", 3, 3)
    assert shown["is_active"] is False
    assert send(csv_of("K-1,Kettle,New,kitchen,10.00,,3,true")).json["updated"] == 1
    assert http.get(f"/products/{kettle['id']}").json["is_active"] is True


def test_a_later_row_overrides_an_earlier_one_of_the_same_sku(http, send):
    report = send(csv_of("K-1,Kettle,,kitchen,10.00,,3,", "K-1,Pot,,kitchen,11.00,,3,")).json
    assert (report["added"], report["updated"]) == (1, 1)
    assert [one["name"] for one in http.get("/products/").json["items"]] == ["Pot"]


def test_invalid_rows_are_reported_with_their_line_and_the_others_written(http, send):
    text = csv_of(
        "K-1,Kettle,,kitchen,10.00,,3,",
        'K-2,Cup,"Two\nlines",kitchen,cheap,,3,',
        "K-3,Cup,,kitchen,2.00,,-1,",
        "K-4,Cup,kitchen,2.00",
        "two words,Cup,,kitchen,2.00,,1,",
        "K-5,C\x00p,,kitchen,2.00,,1,",
        "K-6,Cup,,kitchen,2.00,,1,perhaps",
        "K-7,Last,,kitchen,2.00,,1,no",
    )
    report = send(text).json
    assert (report["added"], report["refused"]) == (2, 6)
    assert [(row["line"], row["sku"], row["field"]) for row in report["rows"]] == [
        (3, "K-2", "price"),
        (5, "K-3", "stock_quantity"),
        (6, "", ""),
        (7, "two words", "sku"),
        (8, "K-5", ""),
        (9, "K-6", "is_active"),
    ]
    assert all(row["reason"] for row in report["rows"])
    assert [one["name"] for one in pages(http, "/products/")[0]] == ["Kettle"]


def test_lines_that_are_not_json_or_not_utf_8_are_reported(send):
    good = json.dumps(described(sku="K-1")).encode()
    lines = [
        b"{",
        b"[]",
        b"",
        b'{"sku": "K-9"}',
        good,
        good[:-1] + b', "colour": "red"}',
        b'{"sku": "K-\xff"}',
        b"[" * 9_000,
    ]
    report = send(b"\n".join(lines), "application/x-ndjson").json
    assert [row["line"] for row in report["rows"]] == [1, 2, 4, 6, 7, 8]
    assert report["added"] == 1


@pytest.mark.parametrize(
    "header", ["", "sku,name\n", "sku,name,category,price,colour\n", "sku,name,category,price,sku\n"]
)
def test_a_file_with_other_columns_is_refused(send, header):
    response = send(header + "K-1,Cup,kitchen,2.00,x\n")
    assert response.status_code == 422
    assert "the columns are sku, name" in response.json["detail"]


def test_too_many_rows_or_another_media_type_are_refused_before_anything_is_written(http, send, staff, customer):
    many = json_of(*(described(sku=f"K-{number}") for number in range(1_001)))
    assert send(many, "application/x-ndjson").status_code == 413
    assert send("{}", "application/json").status_code == 415
    assert send(csv_of(), headers=customer).status_code == 403
    assert http.get("/products/export", headers=customer).status_code == 403
    assert http.get("/products/").json["items"] == []


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_what_is_exported_can_be_imported(http, add, staff, send, format_):
    add(name='Kettle, "big"', description="Two\nlines, é.", price="12.50", stock_quantity=3)
    gone = add(name="Old")
    http.delete(f"/products/{gone['id']}", headers=staff)
    response = http.get(f"/products/export?format={format_}", headers=staff)
    kind = response.content_type.partition(";")[0]
    assert send(response.data, kind).json == {
        "lines": 4 if format_ == "csv" else 2,
        "added": 0,
        "updated": 0,
        "unchanged": 2,
        "refused": 0,
        "stock_ignored": 0,
        "rows": [],
    }
    Product.objects.delete()
    assert send(response.data, kind).json["added"] == 2
    again = http.get(f"/products/export?format={format_}", headers=staff).data
    assert sorted(again.splitlines()) == sorted(response.data.splitlines())


def test_two_imports_at_once_add_each_product_once(http, send):
    text = csv_of(*(f"K-{number},Cup {number},,kitchen,2.00,,1," for number in range(100)))
    parsed = list(Rows(BytesIO(text.encode()), "csv"))
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(upsert.upsert(parsed))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.counts[upsert.ADDED] for report in reports) == 100
    assert sum(report.counts[upsert.UNCHANGED] for report in reports) == 200
    assert Product.objects.count() == 100


# --- files


def silently(**numbers):
    """No progress is shown."""


@pytest.fixture
def catalogue(tmp_path):
    file = tmp_path / "catalogue.csv"
    lines = [f"K-{number},Cup {number},,kitchen,{'2.00' if number % 100 else 'free'},,1," for number in range(500)]
    file.write_text(csv_of(*lines), encoding="utf-8")
    return file


def test_a_file_is_imported_with_a_report_of_refused_rows(products, http, catalogue):
    progress = []
    with store.active(products.store):
        counts = files.import_file(catalogue, lambda **numbers: progress.append(numbers))
    assert counts == {"added": 495, "refused": 5, "lines": 501}
    refused = [json.loads(line) for line in catalogue.with_name("catalogue.csv.refused.jsonl").read_text().splitlines()]
    assert [(row["line"], row["sku"], row["field"]) for row in refused] == [
        (number + 2, f"K-{number}", "price") for number in range(0, 500, 100)
    ]
    assert progress[-1] == {"at": catalogue.stat().st_size, "of": catalogue.stat().st_size, **counts}
    assert http.get("/products/search?q=cup+7").json["items"][0]["name"] == "Cup 7"


def test_an_interrupted_import_continues_where_it_stopped(products, catalogue):
    def stop_at_the_second(batch):
        if Product.objects.count():
            raise KeyboardInterrupt
        return upsert.upsert(batch)

    with pytest.raises(KeyboardInterrupt):
        files.import_file(catalogue, silently, write=stop_at_the_second)
    assert Product.objects.count() == 198
    assert files.import_file(catalogue, silently) == {"added": 495, "refused": 5, "lines": 501}
    assert len(catalogue.with_name("catalogue.csv.refused.jsonl").read_text().splitlines()) == 5
    # Once it is finished, the same file is another import.
    assert files.import_file(catalogue, silently) == {"unchanged": 495, "refused": 5, "lines": 501}


def test_a_row_reported_just_before_a_crash_is_reported_once(products, catalogue, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # The last moment at which a report is written but not in the checkpoint.
        patched.setattr(files.Checkpoint, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            files.import_file(catalogue, silently)
    report = catalogue.with_name("catalogue.csv.refused.jsonl")
    assert report.read_text()
    files.import_file(catalogue, silently)
    lines = [json.loads(line)["line"] for line in report.read_text().splitlines()]
    assert lines == [number + 2 for number in range(0, 500, 100)]


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl"])
def test_what_is_exported_to_a_file_is_imported_from_it(products, add, tmp_path, name):
    add(sku="K-1", description="é")
    assert files.export_file(tmp_path / name, silently) == 1
    assert files.import_file(tmp_path / name, silently)["unchanged"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "nowhere.csv"], "No such file"),
        (["import", "README.md"], "must end in .csv or .jsonl"),
    ],
)
def test_an_error_of_a_command_is_one_line(arguments, message):
    command = [sys.executable, "-m", "services.products.commands", *arguments]
    environment = {"SOUK_MONGO_URL": "mongodb://127.0.0.1:1/products", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


# --- every line is accounted for


ROWS = [f"K-{number},Cup {number},,kitchen,2.00,,1," for number in range(1, 31)]


def accounted(report):
    return report["added"] + report["updated"] + report["unchanged"] + report["refused"]


@pytest.mark.parametrize(
    ("wrong", "refused"),
    [
        ({10: 'K-11,"Cup 11,,kitchen,2.00,,1,'}, [12]),
        ({10: 'K-11,"Cup 11,,kitchen,2.00,,1,', 20: 'K-21,"Cup, big",,kitchen,2.00,,1,'}, [12]),
        ({10: 'K-11,"Cup 11,,kitchen,2.00,,1,', 20: 'K-21,Cup 5",,kitchen,2.00,,1,'}, [12]),
        ({10: 'K-11,Cup,"It,kitchen,2.00,,1,', 20: 'K-21,Cup,5",kitchen,2.00,,1,'}, [12]),
        ({10: 'K-11,Cup,"It,kitchen,2.00,,1,', 11: 'K-12,Cup,5",kitchen,2.00,,1,'}, [12]),
        ({29: 'K-30,"Cup 30,,kitchen,2.00,,1,'}, [31]),
        ({10: 'K-11,"Cup" 11,,kitchen,2.00,,1,'}, [12]),
        ({10: "K-11,Cup 11,kitchen,2.00"}, [12]),
        ({10: "K-11,Cup 11,," + "k" * 70_000 + ",2.00,,1,"}, [12]),
        ({10: "x" * 300_000}, [12]),
        ({28: "", 29: ",,,,,,,"}, []),
        ({28: "  ", 29: ",,,"}, []),
    ],
)
def test_a_wrong_line_costs_no_other_line(send, wrong, refused):
    lines = [wrong.get(index, row) for index, row in enumerate(ROWS)]
    report = send(csv_of(*lines)).json
    assert [row["line"] for row in report["rows"]] == refused
    blank = sum(1 for line in lines if not line.strip(" ,"))
    assert (report["lines"], accounted(report)) == (31, 30 - blank)


def test_a_line_of_more_than_65_536_characters_is_refused(send):
    def padded(sku, length):
        line = json.dumps(described(sku=sku))
        return line + " " * (length - len(line) - 1) + "\n"

    report = send(padded("K-1", 65_536) + padded("K-2", 65_537) + padded("K-3", 100), "application/x-ndjson").json
    assert (report["lines"], report["added"]) == (3, 2)
    assert [(row["line"], row["reason"]) for row in report["rows"]] == [(2, "is too long")]


@pytest.mark.parametrize("cell", ["k" * 70_000, "k" * 300_000])
def test_a_csv_row_of_more_than_65_536_characters_is_refused(send, cell):
    report = send(csv_of(ROWS[0], f"K-9,Cup,,{cell},2.00,,1,", ROWS[1])).json
    assert [(row["line"], row["reason"]) for row in report["rows"]] == [(3, "is too long")]
    assert report["added"] == 2


def test_a_refused_row_names_all_its_lines(send):
    report = send(csv_of('K-1,Cup,"One\ntwo\nthree.",kitchen,cheap,,1,', ROWS[1])).json
    assert [(row["line"], row["last_line"], row["field"]) for row in report["rows"]] == [(2, 4, "price")]
    assert report["added"] == 1


@settings(max_examples=100)
@given(st.lists(st.sampled_from([*ROWS[:3], '"', 'K-9,"a', ',"', "", 'K-8,"x ""y""",,k,1.00,,,', '""', 'a"b,c'])))
def test_each_line_is_in_one_row_or_blank(lines):
    read = Rows(BytesIO(csv_of(*lines).encode()), "csv")
    ranges = [range(row.line, row.last_line + 1) for row in read]
    covered = [line for each in ranges for line in each]
    assert covered == sorted(set(covered))
    assert read.lines == csv_of(*lines).count("\n")
    blank = {number for number, line in enumerate(lines, start=2) if not line.strip('", ')}
    assert set(range(2, read.lines + 1)) - set(covered) <= blank


@pytest.mark.parametrize(
    ("content", "kind", "name"),
    [
        (csv_of(ROWS[0]).replace(",", ";"), "text/csv", "semicolons"),
        (csv_of(ROWS[0]).replace(",", "\t"), "text/csv", "tabs"),
        ("sep=;\n" + csv_of(ROWS[0]), "text/csv", "sep="),
        (csv_of(ROWS[0]).encode("utf-16"), "text/csv", "UTF-16"),
        (csv_of(ROWS[0]).encode("utf-16-le"), "text/csv", "UTF-16"),
        (csv_of(ROWS[0]).replace("sku", "SKU"), "text/csv", "capitals: SKU"),
        (csv_of(ROWS[0]).replace("\n", ",,\n"), "text/csv", "empty columns"),
        (csv_of(ROWS[0]).replace("\n", "\r"), "text/csv", "CR"),
        (b"PK\x03\x04\x14\x00\x06\x00", "text/csv", "XLSX"),
        (b"PK\x03\x04\x14\x00\x06\x00", "application/x-ndjson", "XLSX"),
        ("\n<!DOCTYPE html><table>", "text/csv", "HTML"),
        ("<html>", "application/x-ndjson", "HTML"),
        ("[\n" + json_of(described()) + "]", "application/x-ndjson", "JSON array"),
        (json_of(described()), "text/csv", "JSON"),
        (csv_of(ROWS[0]), "application/x-ndjson", "CSV"),
        ("k,".join("x" * 50 for _ in range(5_000)) + "\n", "text/csv", "unknown columns"),
    ],
)
def test_what_is_not_our_format_is_named(send, content, kind, name):
    response = send(content, kind)
    assert response.status_code == 422
    assert name in response.json["detail"]
    assert len(response.data) < 2_500


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-5 °C", "@sum", " =1+1", "'=1+1", "''", "'tis", "＝1", "\t=1", "a\rb", "=\"a\"\n,b", "x ", "\r"]  # noqa: RUF001
)  # fmt: skip
def test_a_spreadsheet_runs_no_exported_text_and_the_round_trip_is_exact(http, add, staff, send, text):
    added = add(description=text)
    exported = http.get("/products/export", headers=staff).data
    cell = next(csv.DictReader(StringIO(exported.decode(), newline="")))["description"]
    assert cell.lstrip()[:1] not in tuple("=+-@＝")  # noqa: RUF001
    assert send(exported).json["unchanged"] == 1
    Product.objects.delete()
    assert send(exported).json["added"] == 1
    assert [one["description"] for one in http.get("/products/").json["items"]] == [added["description"]]
    assert http.get("/products/export", headers=staff).data == exported


def test_rows_whose_skus_differ_in_case_are_one_product(http, send):
    report = send(csv_of("K-1,Cup,,kitchen,2.00,,1,", "k-1,Mug,,kitchen,2.00,,1,")).json
    assert (report["added"], report["updated"]) == (1, 1)
    assert [(one["sku"], one["name"]) for one in http.get("/products/").json["items"]] == [("k-1", "Mug")]


def test_a_repeated_key_in_a_json_line_is_refused(send):
    report = send(json_of(described())[:-2] + ', "name": "Pot"}\n', "application/x-ndjson").json
    assert [row["reason"] for row in report["rows"]] == ["The key 'name' is repeated."]
