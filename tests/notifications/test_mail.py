"""Mails go to one recipient, and passwords only over TLS."""

import ssl
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from ipaddress import ip_address
from uuid import uuid4

import pytest
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from services.notifications.channels import mail
from services.notifications.channels.mail import MailServer
from services.notifications.channels.message import Message, NotTaken, Refused
from services.notifications.settings import Settings

HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]


def notification(recipient="amal@example.com", subject="Your order", text="Thank you.\n", unsubscribe=""):
    return Message(
        id=uuid4(),
        recipient=recipient,
        subject=subject,
        text=text,
        html="<p>Thank you.</p>",
        created_at=datetime.now(UTC),
        unsubscribe=unsubscribe,
    )


class Keeper:
    """Records mails and how they were sent."""

    def __init__(self, farewell="221 Bye"):
        self.envelopes, self.logins, self.tls, self.farewell = [], [], [], farewell

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.envelopes.append(envelope)
        self.tls.append(session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None)
        return "250 OK"

    async def handle_QUIT(self, server, session, envelope):  # noqa: N802
        return self.farewell

    def authenticate(self, server, session, envelope, mechanism, login):
        self.logins.append((login.login, login.password))
        return AuthResult(success=login.password == b"p@ss", handled=False)


@pytest.fixture
def certified(tmp_path, monkeypatch):
    """A TLS context for 127.0.0.1 that this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both, trusted = tmp_path / "both.pem", tmp_path / "trusted.pem"
    both.write_bytes(pem + secret)
    trusted.write_bytes(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context


def send(url, **fields):
    MailServer(url, Settings(smtp_timeout_seconds=5)).send(notification(**fields))


def test_smtps_uses_the_password_of_the_url(mail_server, certified):
    keeper = Keeper()
    port = mail_server(
        keeper, ssl_context=certified, authenticator=keeper.authenticate, auth_required=True, auth_require_tls=False
    )
    send(f"smtps://souk:p%40ss@127.0.0.1:{port}")
    assert (len(keeper.envelopes), keeper.logins) == (1, [(b"souk", b"p@ss")])


def test_starttls_is_used_where_it_is_offered(mail_server, certified):
    keeper = Keeper()
    send(f"smtp://127.0.0.1:{mail_server(keeper, tls_context=certified)}")
    assert keeper.tls == [True]


def test_a_password_is_sent_only_over_tls(mail_server, certified):
    keeper = Keeper()
    port = mail_server(keeper, tls_context=certified, authenticator=keeper.authenticate)
    send(f"smtp://souk:p%40ss@127.0.0.1:{port}")
    assert (keeper.tls, keeper.logins) == ([True], [(b"souk", b"p@ss")])


def test_a_server_without_tls_gets_no_password(mail_server):
    keeper = Keeper()
    port = mail_server(keeper, authenticator=keeper.authenticate, auth_require_tls=False)
    with pytest.raises(NotTaken, match="STARTTLS"):
        send(f"smtp://souk:p%40ss@127.0.0.1:{port}")
    assert (keeper.logins, keeper.envelopes) == ([], [])


def test_a_server_with_an_untrusted_certificate_gets_no_mail(mail_server, certified, monkeypatch):
    keeper = Keeper()
    port = mail_server(keeper, tls_context=certified)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NotTaken, match="certificate verify failed"):
        send(f"smtp://127.0.0.1:{port}")
    assert keeper.envelopes == []


def test_a_mail_waits_while_our_password_is_wrong(mail_server, certified):
    keeper = Keeper()
    port = mail_server(keeper, tls_context=certified, authenticator=keeper.authenticate)
    with pytest.raises(NotTaken, match="Authentication") as refused:
        send(f"smtp://souk:wr0ng@127.0.0.1:{port}")
    with pytest.raises(NotTaken) as unreachable:
        send("smtp://souk:wr0ng@127.0.0.1:1")
    assert "wr0ng" not in f"{refused.value!r} {refused.value.__cause__!r} {unreachable.value!r}"


def test_a_failed_quit_does_not_undo_an_accepted_mail(mail_server):
    keeper = Keeper(farewell="500 Syntax error")
    send(f"smtp://127.0.0.1:{mail_server(keeper)}")
    assert len(keeper.envelopes) == 1


@pytest.mark.parametrize("supports_smtputf8", [True, False])
@pytest.mark.parametrize(
    ("recipient", "sent_to"),
    [
        ("joerg@käse.example", "joerg@xn--kse-qla.example"),
        ("joerg@straße.example", "joerg@xn--strae-oqa.example"),
        ("a@例え.example", "a@xn--r8jz45g.example"),
    ],
)
def test_a_domain_with_umlauts_is_written_as_its_a_label(mail_server, recipient, sent_to, supports_smtputf8):
    keeper = Keeper()
    send(f"smtp://127.0.0.1:{mail_server(keeper, enable_SMTPUTF8=supports_smtputf8)}", recipient=recipient)
    assert keeper.envelopes[0].rcpt_tos == [sent_to]
    assert f"To: {sent_to}".encode() in keeper.envelopes[0].content


def test_an_address_with_umlauts_is_used_where_the_server_supports_it(mail_server):
    keeper = Keeper()
    send(f"smtp://127.0.0.1:{mail_server(keeper, enable_SMTPUTF8=True)}", recipient="jörg@käse.example")
    assert keeper.envelopes[0].rcpt_tos == ["jörg@käse.example"]


def test_an_address_with_umlauts_is_refused_where_the_server_does_not_support_it(mail_server):
    keeper = Keeper()
    port = mail_server(keeper, enable_SMTPUTF8=False)
    with pytest.raises(Refused, match="does not support this address"):
        send(f"smtp://127.0.0.1:{port}", recipient="jörg@example.com")


def test_a_mail_is_ascii_on_the_wire_and_decodes_to_its_text(mail_server):
    keeper = Keeper()
    send(f"smtp://127.0.0.1:{mail_server(keeper)}", subject="Grüße — 12,50 €", text="Tee für zwei\n" * 200)
    content = keeper.envelopes[0].original_content
    assert content.isascii()
    read = message_from_bytes(content, policy=default)
    assert read["Subject"] == "Grüße — 12,50 €"
    assert read.get_body(("plain",)).get_content().replace("\r\n", "\n") == "Tee für zwei\n" * 200
    assert read["Auto-Submitted"] == "auto-generated"


FRAGMENTS = [
    "amal",
    "@",
    "example.com",
    " ",
    "\r\n",
    "\n",
    "Bcc: all@example.com",
    ",",
    ";",
    '"',
    "<",
    ">",
    "=?utf-8?q?=0A?=",
]


@given(
    recipient=st.one_of(
        st.text(max_size=40), st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join), st.emails()
    ),
    subject=st.text(st.characters(blacklist_categories=["Cs"]), max_size=200),
)
@example(recipient=";\n", subject="")
@example(recipient='"', subject="")
@example(recipient="=?utf-8?q?a=0ABcc:x?=@example.com", subject="\nBcc: all@example.com\n\nBuy")
def test_a_recipient_or_subject_cannot_inject_headers(recipient, subject):
    try:
        composed = mail.compose(notification(recipient, subject), "Souk <orders@souk.example>")
    except Refused:
        return
    read = message_from_bytes(composed.as_bytes(), policy=default)
    assert read.keys() == HEADERS
    assert [address.addr_spec for address in read["To"].addresses] == [recipient]
    assert len(list(read.iter_parts())) == 2


@pytest.mark.parametrize(
    "address", ["amal+souk@example.com", "a=b?c@example.com", "o'hara@example.co.uk", "x@" + "a" * 60]
)
def test_unusual_addresses_are_accepted(address):
    assert mail.compose(notification(address), "Souk <orders@souk.example>")["To"] == address
