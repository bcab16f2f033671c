"""The mailbox accepts mails by SMTP, stores the latest, and shows them safely over HTTP."""

import os
import signal
import smtplib
import socket
import subprocess
import sys
from contextlib import contextmanager
from email.message import EmailMessage
from functools import partial
from itertools import count

import pytest
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st

from devservers import standin
from devservers.mailbox.inbox import Inbox
from devservers.mailbox.pages import create_app
from devservers.mailbox.smtp import is_listening, receiving
from tests.ports import free_port

KEPT = 5
SCRIPT = "<script>alert(1)</script>"
ASKING_FOR_READY = urllib3.Retry(total=60, backoff_factor=0.05, backoff_max=0.25, status_forcelist=[503])
fresh = count()

SECRET = "only-the-owner-knows"


class Office:
    """Sends by SMTP and reads over HTTP."""

    def __init__(self, port, smtp_port):
        self.smtp_port = smtp_port
        self.root = f"http://127.0.0.1:{port}"
        self.address = f"{self.root}/{SECRET}"
        self.http = urllib3.PoolManager(retries=False, timeout=10)

    def send(self, mail, **envelope):
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=10) as connection:
            connection.send_message(mail, **envelope)

    def send_raw(self, content, recipients=("amal@example.com",)):
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=10) as connection:
            connection.sendmail("shop@souk.example", recipients, content)

    def get(self, path, **options):
        return self.http.request("GET", self.address + path, **options)

    def messages(self, query=""):
        return self.get(f"/messages{query}").json()["items"]

    def latest(self):
        return self.get(f"/messages/{self.messages()[0]['id']}").json()


def mail(subject="Your order is confirmed", to="amal@example.com", text="Thank you.", html=None):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Souk <shop@souk.example>", to, subject
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return message


@contextmanager
def opened(directory):
    inbox = Inbox(directory, kept=KEPT)
    with receiving(inbox, "127.0.0.1", 0) as smtp_port:
        app = create_app(inbox, partial(is_listening, "127.0.0.1", smtp_port), SECRET)
        with standin.listening(app, "127.0.0.1", 0) as port:
            yield Office(port, smtp_port)


@pytest.fixture
def office(tmp_path):
    with opened(tmp_path / "mails") as office:
        yield office


def test_an_accepted_mail_is_in_the_inbox(office):
    office.send(mail("Grüße aus dem Souk — 12,50 €", text="Danke.\n", html="<p>Danke.</p>"))
    [summary] = office.messages()
    assert (summary["sender"], summary["recipients"]) == ("Souk <shop@souk.example>", ["amal@example.com"])
    assert summary["subject"] == "Grüße aus dem Souk — 12,50 €"
    read = office.get(f"/messages/{summary['id']}").json()
    assert (read["text"], read["html"]) == ("Danke.\n", "<p>Danke.</p>\n")
    assert ["Subject", "Grüße aus dem Souk — 12,50 €"] in read["headers"]
    assert read["received_at"] == summary["received_at"]


def test_the_recipients_are_those_of_the_envelope(office):
    office.send(mail(to="everybody@example.com"), to_addrs=["Amal@example.com", "omar@example.com"])
    assert office.messages("?to=amal@example.com")[0]["recipients"] == ["Amal@example.com", "omar@example.com"]
    assert office.messages("?to=everybody@example.com") == []


def test_a_forged_envelope_header_is_ignored(office):
    office.send_raw("X-Envelope-To: victim@example.com\r\nSubject: hello\r\n\r\nhi")
    assert office.messages()[0]["recipients"] == ["amal@example.com"]


def test_an_address_with_umlauts_is_found(office):
    office.send(mail(), to_addrs=["jörg@käse.example"])
    assert len(office.messages("?to=j%C3%B6rg@k%C3%A4se.example")) == 1


def test_the_latest_mails_are_kept_newest_first_and_the_oldest_dropped(office, tmp_path):
    for number in range(KEPT + 2):
        office.send(mail(f"number {number}"))
    assert [shown["subject"] for shown in office.messages()] == [f"number {number}" for number in (6, 5, 4, 3, 2)]
    assert len(office.messages("?limit=2")) == 2
    assert sum(file.is_file() for file in tmp_path.rglob("*")) == KEPT


def test_the_inbox_is_the_same_after_a_restart(tmp_path):
    with opened(tmp_path) as office:
        for number in range(3):
            office.send(mail(f"number {number}"))
        before = office.messages()
    with opened(tmp_path) as office:
        assert office.messages() == before


def test_attachments_are_listed_apart_from_the_text(office):
    message = mail(text="See the invoice.")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="invoice.pdf")
    message.add_attachment("not the body", filename="note.txt")
    office.send(message)
    read = office.latest()
    assert read["text"] == "See the invoice.\n"
    assert [(item["filename"], item["size_bytes"]) for item in read["attachments"]] == [
        ("invoice.pdf", 4),
        ("note.txt", 14),
    ]


def test_the_pages_show_a_mail_and_escape_what_it_says(office):
    office.send(mail(f"Sale {SCRIPT}", text=f"text {SCRIPT}", html=f"<b>html</b>{SCRIPT}"))
    inbox = office.get("/?to=amal@example.com")
    link = f"/mails/{office.messages()[0]['id']}"
    page = office.get(link)
    for shown in (inbox, page):
        assert shown.headers["Content-Type"] == "text/html; charset=utf-8"
        assert SCRIPT not in shown.data.decode()
        assert "Sale &lt;script&gt;" in shown.data.decode()
        assert "script-src" not in shown.headers["Content-Security-Policy"]
        assert shown.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert f'href="/{SECRET}{link}"' in inbox.data.decode()
    assert f'src="/{SECRET}{link}/html"' in page.data.decode()
    assert office.get("/style.css").headers["Content-Type"].startswith("text/css")


def test_the_html_of_a_mail_is_sandboxed_even_when_opened_by_itself(office):
    office.send(mail(html=f"<b>hello</b>{SCRIPT}"))
    shown = office.get(f"/mails/{office.messages()[0]['id']}/html")
    policy = shown.headers["Content-Security-Policy"]
    assert "<b>hello</b>" in shown.data.decode()
    assert policy.startswith("sandbox ")
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert shown.headers["X-Content-Type-Options"] == "nosniff"


def test_who_does_not_know_the_path_reads_no_mail(office):
    office.send(mail("Reset your password"))
    mail_id = office.messages()[0]["id"]
    for path in ("/", "/messages", f"/messages/{mail_id}", f"/mails/{mail_id}", "/x/messages", "//messages"):
        response = office.http.request("GET", office.root + path)
        assert (response.status, b"Reset" in response.data) == (404, False)


def test_an_empty_inbox_is_a_page_too(office):
    assert "No mail for nobody@example.com yet." in office.get("/?to=nobody@example.com").data.decode()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/messages/of-nobody", 404),
        ("/mails/of-nobody", 404),
        ("/mails/..%2F..%2Fetc%2Fpasswd/html", 404),
        ("/nowhere", 404),
        ("/messages?limit=0", 422),
        ("/messages?limit=many", 422),
        (f"/?to={'a' * 321}", 422),
    ],
)
def test_an_invalid_query_gets_a_problem(office, path, status):
    response = office.get(path)
    assert (response.status, response.headers["Content-Type"]) == (status, "application/problem+json")


def test_a_mail_without_html_has_no_html_page(office):
    office.send(mail())
    assert office.get(f"/mails/{office.messages()[0]['id']}/html").status == 404


def test_a_mail_over_one_megabyte_is_refused(office):
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        office.send(mail(text="a line of a long mail\n" * 50_000))
    assert refused.value.smtp_code == 552
    assert office.messages() == []


def test_a_mail_has_a_hundred_recipients_at_most(office):
    recipients = [f"customer-{number}@example.com" for number in range(101)]
    with smtplib.SMTP("127.0.0.1", office.smtp_port, timeout=10) as connection:
        refused = connection.sendmail("shop@souk.example", recipients, "Subject: news\r\n\r\nhello")
    assert list(refused) == recipients[100:]
    assert office.messages()[0]["recipients"] == recipients[:100]


def test_a_mail_that_cannot_be_stored_is_refused_temporarily(office, tmp_path):
    for folder in ("tmp", "new", "cur"):
        (tmp_path / "mails" / folder).rmdir()
    with pytest.raises(smtplib.SMTPDataError) as refused:
        office.send(mail())
    assert refused.value.smtp_code == 451


def test_ready_follows_the_smtp_server(tmp_path):
    inbox = Inbox(tmp_path)
    with receiving(inbox, "127.0.0.1", 0) as smtp_port:
        client = create_app(inbox, partial(is_listening, "127.0.0.1", smtp_port), SECRET).test_client()
        assert client.get("/health/ready").status_code == 200
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/live").status_code == 200


NASTY = st.sampled_from(
    [
        "Subject: =?utf-8?b?!!!?= =?nonsense?q?=ff?=\r\n",
        "Subject: =?utf-8?q?" + "=C3" * 30 + "?=\r\n folded\r\n",
        "From: \x00\x1f<\r\n",
        "Content-Type: text/html; charset=rot13\r\n",
        "Content-Type: text/plain; charset=idna\r\n",
        "Content-Type: text/plain; charset*=nonsense'x'%ff%00\r\n",
        "Content-Type: text/plain; charset=\r\n",
        "Content-Type: multipart/mixed; boundary=B\r\n",
        "Content-Type: multipart/mixed\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: application/x; name*0*=utf-8''%e4; name*2=b\r\n",
        "Content-Disposition: attachment; filename*=nonsense'en'%ff%fe\r\n",
        'Content-Disposition: attachment; filename="=?utf-8?b?w?="\r\n',
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: x-uuencode\r\n",
        "Content-Transfer-Encoding: nonsense\r\n",
        "\r\n",
        "--B\r\n",
        "--B--\r\n",
        "begin 666 x\r\n\xff\xfe",
        "<b>\x80\xff</b>",
        "no header at all",
    ]
).map(lambda text: text.encode("latin-1"))


@settings(max_examples=150)
@given(content=st.lists(st.one_of(NASTY, st.binary(max_size=20)), max_size=12).map(b"".join))
def test_the_inbox_is_readable_whatever_mails_it_holds(tmp_path_factory, content):
    reading_shows(tmp_path_factory.getbasetemp() / "broken", content)


def test_a_deeply_nested_mail_is_shown(tmp_path):
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=B%d\r\n\r\n--B%d\r\n" % (n, n) for n in range(2_000))
    reading_shows(tmp_path, b"Subject: deep\r\n" + nested)


def reading_shows(directory, content):
    inbox = Inbox(directory, kept=KEPT)
    inbox.add("shop@souk.example", ["amal@example.com\r\nX: y", "\udc80@example.com"], content)
    client = create_app(inbox, lambda: True, SECRET).test_client()
    mail_id = client.get(f"/{SECRET}/messages").json["items"][0]["id"]
    for path in ("/", f"/mails/{mail_id}", f"/messages/{mail_id}"):
        assert client.get(f"/{SECRET}{path}").status_code == 200
    has_html = client.get(f"/{SECRET}/messages/{mail_id}").json["html"] is not None
    assert client.get(f"/{SECRET}/mails/{mail_id}/html").status_code == (200 if has_html else 404)
    assert len(Inbox(directory, kept=KEPT).latest(KEPT)) == len(inbox.latest(KEPT))


def test_a_killed_mailbox_keeps_its_mails_and_a_stopped_one_exits_cleanly(tmp_path):
    with process(tmp_path) as (program, office):
        office.send(mail("before the end"))
        program.kill()
    with process(tmp_path) as (program, office):
        assert [shown["subject"] for shown in office.messages()] == ["before the end"]
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=10) == 0


def test_an_smtp_port_in_use_is_reported_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, process(tmp_path, taken.getsockname()[1]) as (program, _):
        assert program.wait(timeout=30) == 1
        assert "The mailbox cannot listen on 127.0.0.1" in program.stderr.read().splitlines()[-1]


@contextmanager
def process(directory, smtp_port=None):
    """Starts the mailbox as the launcher does, and waits until it is ready unless its SMTP port is in use."""
    port = free_port()
    given = {"SOUK_PORT": port, "SOUK_SMTP_PORT": smtp_port or free_port(), "SOUK_MAIL_DIRECTORY": directory}
    given["SOUK_MAIL_SECRET"] = SECRET
    surroundings = os.environ | {name: str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "devservers.mailbox"]
    program = subprocess.Popen(command, env=surroundings, stderr=subprocess.PIPE, text=True)
    office = Office(port, given["SOUK_SMTP_PORT"])
    try:
        if smtp_port is None:
            office.http.request("GET", f"{office.root}/health/ready", retries=ASKING_FOR_READY)
        yield program, office
    finally:
        program.kill()
        program.communicate()
