"""Many products at once: what is right is taken, what is not is reported with its line, and what was stopped goes on."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chassis.storage import store
from services.products import bulk, files, rows
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
    assert report == {"added": 1, "changed": 0, "unchanged": 0, "refused": 0, "stock_left": 0, "rows": []}
    (shown,) = http.get("/products/").json["items"]
    assert {**wanted, "currency": "EUR", "is_active": True}.items() <= shown.items()


def test_a_row_with_a_known_sku_changes_that_product_and_leaves_its_stock(http, send, staff):
    send(csv_of("K-1,Kettle,Old,kitchen,10.00,,3,", "K-2,Cup,,kitchen,2.00,,1,"))
    (kettle,) = [one for one in http.get("/products/").json["items"] if one["sku"] == "K-1"]
    http.delete(f"/products/{kettle['id']}", headers=staff)
    report = send(csv_of("K-1,Kettle,New,kitchen,10.00,,9,", "K-2,Cup,,kitchen,2.00,,1,")).json
    assert (report["changed"], report["unchanged"], report["stock_left"]) == (1, 1, 1)
    shown = http.get(f"/products/{kettle['id']}", headers=staff).json
    assert (shown["description"], shown["stock_quantity"], shown["version"]) == ("New", 3, 3)
    assert shown["is_active"] is False
    assert send(csv_of("K-1,Kettle,New,kitchen,10.00,,3,true")).json["changed"] == 1
    assert http.get(f"/products/{kettle['id']}").json["is_active"] is True


def test_a_later_row_of_a_sku_goes_over_an_earlier_one(http, send):
    report = send(csv_of("K-1,Kettle,,kitchen,10.00,,3,", "K-1,Pot,,kitchen,11.00,,3,")).json
    assert (report["added"], report["changed"]) == (1, 1)
    assert [one["name"] for one in http.get("/products/").json["items"]] == ["Pot"]


def test_what_cannot_be_taken_is_reported_with_its_line_and_the_rest_is_taken(http, send):
    text = csv_of(
        "K-1,Kettle,,kitchen,10.00,,3,",
        'K-2,"Two\nlines",,kitchen,cheap,,3,',
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


def test_lines_that_are_no_json_or_no_text_are_reported(send):
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
def test_a_header_of_other_columns_is_refused_as_a_whole(send, header):
    answer = send(header + "K-1,Cup,kitchen,2.00,x\n")
    assert answer.status_code == 422
    assert "the columns are sku, name" in answer.json["detail"]


def test_too_much_or_another_kind_is_refused_before_anything_is_taken(http, send, staff, customer):
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
    answer = http.get(f"/products/export?format={format_}", headers=staff)
    kind = answer.content_type.partition(";")[0]
    assert send(answer.data, kind).json == {
        "added": 0,
        "changed": 0,
        "unchanged": 2,
        "refused": 0,
        "stock_left": 0,
        "rows": [],
    }
    Product.objects.delete()
    assert send(answer.data, kind).json["added"] == 2
    again = http.get(f"/products/export?format={format_}", headers=staff).data
    assert sorted(again.splitlines()) == sorted(answer.data.splitlines())


def test_two_imports_at_once_add_each_product_once(http, send):
    text = csv_of(*(f"K-{number},Cup {number},,kitchen,2.00,,1," for number in range(100)))
    parsed = list(rows.read(text.encode().splitlines(keepends=True), "csv"))
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(bulk.take(parsed))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.counts[bulk.ADDED] for report in reports) == 100
    assert sum(report.counts[bulk.UNCHANGED] for report in reports) == 200
    assert Product.objects.count() == 100


# --- files


@pytest.fixture
def catalogue(tmp_path):
    file = tmp_path / "catalogue.csv"
    lines = [f"K-{number},Cup {number},,kitchen,{'2.00' if number % 100 else 'free'},,1," for number in range(500)]
    file.write_text(csv_of(*lines), encoding="utf-8")
    return file


def test_a_file_is_imported_with_a_report_of_what_was_refused(products, http, catalogue, capsys):
    with store.active(products.store):
        assert files.import_(catalogue) == {"added": 495, "refused": 5}
    refused = [json.loads(line) for line in catalogue.with_name("catalogue.csv.refused.jsonl").read_text().splitlines()]
    assert [(row["line"], row["sku"], row["field"]) for row in refused] == [
        (number + 2, f"K-{number}", "price") for number in range(0, 500, 100)
    ]
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[-1] == {"at": catalogue.stat().st_size, "of": catalogue.stat().st_size, "added": 495, "refused": 5}
    assert http.get("/products/search?q=cup+7").json["items"][0]["name"] == "Cup 7"


def test_an_import_that_was_stopped_goes_on_where_it_was(products, catalogue):
    def stop_at_the_second(batch):
        if Product.objects.count():
            raise KeyboardInterrupt
        return bulk.take(batch)

    with pytest.raises(KeyboardInterrupt):
        files.import_(catalogue, take=stop_at_the_second)
    assert Product.objects.count() == 198
    assert files.import_(catalogue) == {"added": 495, "refused": 5}
    assert len(catalogue.with_name("catalogue.csv.refused.jsonl").read_text().splitlines()) == 5
    # Once finished, the same file is another import.
    assert files.import_(catalogue) == {"unchanged": 495, "refused": 5}


def test_a_row_that_was_reported_just_before_the_end_is_reported_once(products, catalogue, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # The last moment at which a report is written and not yet noted.
        patched.setattr(files.Checkpoint, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            files.import_(catalogue)
    report = catalogue.with_name("catalogue.csv.refused.jsonl")
    assert report.read_text()
    files.import_(catalogue)
    lines = [json.loads(line)["line"] for line in report.read_text().splitlines()]
    assert lines == [number + 2 for number in range(0, 500, 100)]


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl"])
def test_what_is_exported_to_a_file_is_imported_from_it(products, add, tmp_path, name):
    add(sku="K-1", description="é")
    assert files.export(tmp_path / name) == 1
    assert files.import_(tmp_path / name) == {"unchanged": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage"),
        (["import", "nowhere.csv"], "No such file"),
        (["import", "README.md"], "must end in .csv or .jsonl"),
    ],
)
def test_what_is_wrong_with_a_command_is_one_line(arguments, said):
    command = [sys.executable, "-m", "services.products.files", *arguments]
    environment = {"SOUK_MONGO_URL": "mongodb://127.0.0.1:1/products", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
