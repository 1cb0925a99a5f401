"""Mail that nobody sent: realistic messages made from prose of our own, by seed.

The same seed gives the same bytes. The text comes from `text/*.txt`, one language a file,
one paragraph between blank lines. Lines end in LF, as a Maildir stores them.

    writer = Writer(7)
    raw = writer.message("ada@tidewater.example", "hiro@saltmarsh.example", 1325376000)

`KINDS` names what is made: common mail, and the odd mail that breaks parsers. Signatures
are made with a key of our own, `dkim-test-key.pem`, under selector `lab`; it protects
nothing, and `public_record` answers in the place of the DNS.
"""

from __future__ import annotations

import base64
import dataclasses
import email.header
import email.utils
import functools
import pathlib
import quopri
import random
import textwrap
from collections.abc import Callable, Iterable
from unittest import mock

HERE = pathlib.Path(__file__).resolve().parent
SELECTOR = b"lab"
LANGUAGES = ("en", "de", "fr", "ja", "ru")

# charset and transfer encoding that mail in each language comes in.
ENCODINGS = {
    "en": [("us-ascii", "7bit"), ("us-ascii", "7bit"), ("utf-8", "quoted-printable"), ("utf-8", "8bit")],
    "de": [("iso-8859-15", "quoted-printable"), ("iso-8859-15", "8bit"), ("utf-8", "8bit"), ("utf-8", "base64")],
    "fr": [("iso-8859-15", "8bit"), ("utf-8", "quoted-printable"), ("iso-8859-1", "quoted-printable")],
    "ja": [("shift_jis", "8bit"), ("shift_jis", "base64"), ("iso-2022-jp", "7bit"), ("utf-8", "base64")],
    "ru": [("koi8-r", "8bit"), ("windows-1251", "base64"), ("utf-8", "quoted-printable"), ("utf-8", "8bit")],
}

HOSTILE_SUBJECTS = [
    b"<script>alert('restored')</script>",
    b"Invoice \x1b[2J\x1b]0;your terminal\x07\x1b[31m overdue",
    "Photo \u202egpj.exe".encode(),
    b"=?utf-8?q?nothing=00after_this=0d=0aBcc:_everyone?=",
    b'=HYPERLINK("http://localhost/","open me")',
    b"%s%s%n ${jndi} {{7*7}} '; drop table mail; --",
    b'"><img src=x onerror=alert(1)>',
]


@dataclasses.dataclass
class Draft:
    """A message before transport: raw subject, more header lines, and the MIME body."""

    subject: bytes
    content: list[bytes]
    body: bytes
    extra: list[bytes] = dataclasses.field(default_factory=list)
    # Added after signing, as mailing lists do; it breaks the body hash.
    footer: bytes = b""
    signable: bool = True
    # The envelope's sender; None is the From address.
    return_path: str | None = None


@functools.cache
def paragraphs(language: str) -> tuple[str, ...]:
    """The paragraphs of one language, each on one line."""
    text = (HERE / "text" / f"{language}.txt").read_text(encoding="utf-8")
    return tuple(" ".join(part.split("\n")) for part in text.strip().split("\n\n"))


class Writer:
    """Makes messages; every choice comes from `seed`.

    `attachment` bounds the attachments' sizes in bytes before base64.
    """

    def __init__(self, seed: int | str, attachment: tuple[int, int] = (2_000, 9_000)):
        self.rng = random.Random(f"mail-{seed}")
        self._attachment = attachment

    def message(
        self, sender: str, recipient: str, when: int, *, kind: str | None = None, signed: float = 0.6, delivered: bool = True
    ) -> bytes:
        """One message of `kind`, or of a kind chosen by the weights in `KINDS`.

        `signed` is the chance of a DKIM signature; `delivered` adds what the receiving
        server adds (Return-Path, Delivered-To, Received), which sent mail does not have.
        """
        if kind is None:
            kind = self.rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        draft = KINDS[kind][1](self, sender, recipient, when)
        head = [
            b"From: " + self._address(sender),
            b"To: " + self._address(recipient),
            b"Subject: " + draft.subject,
            b"Date: " + email.utils.formatdate(when - self.rng.randint(1, 90)).encode(),
            b"Message-ID: " + self.message_id(sender),
            *draft.extra,
            b"MIME-Version: 1.0",
            *draft.content,
        ]
        raw = b"\n".join(head) + b"\n\n" + draft.body
        if draft.signable and self.rng.random() < signed:
            raw = self._sign(raw, sender, when)
        raw += draft.footer
        if delivered:
            raw = self._trace(draft.return_path if draft.return_path is not None else sender, recipient, when) + raw
        return raw

    # Pieces of prose.

    def text(self, language: str, count: int) -> str:
        """`count` paragraphs, wrapped as mail programs wrap."""
        picked = [self.rng.choice(paragraphs(language)) for _ in range(count)]
        width = 36 if language == "ja" else 72
        return "\n\n".join("\n".join(textwrap.wrap(one, width)) for one in picked) + "\n"

    def title(self, language: str) -> str:
        """A few words of prose for a subject or a file name."""
        prose = self.rng.choice(paragraphs(language))
        if language == "ja":
            return prose[: self.rng.randint(6, 14)].rstrip("、。")
        words = prose.split()
        return " ".join(words[: self.rng.randint(3, 7)]).rstrip(",.:;")

    def text_part(self, language: str, count: int) -> tuple[list[bytes], bytes]:
        """Content headers and encoded body of a text in one of the language's encodings."""
        charset, transfer = self.rng.choice(ENCODINGS[language])
        if language == "fr" and charset == "iso-8859-1":
            text = self.text(language, count).replace("€", "EUR")
        else:
            text = self.text(language, count)
        content = [f"Content-Type: text/plain; charset={charset}".encode(), f"Content-Transfer-Encoding: {transfer}".encode()]
        return content, transfer_encode(text.encode(charset), transfer)

    def subject(self, language: str) -> bytes:
        """A subject; RFC 2047 encoded words where the language is not ASCII."""
        title = self.rng.choice(["", "", "Re: ", "Fwd: "]) + self.title(language)
        if title.isascii():
            return title.encode()
        charset = {"ja": "iso-2022-jp", "ru": "koi8-r", "de": "iso-8859-1", "fr": "utf-8", "en": "utf-8"}[language]
        try:
            return email.header.Header(title, charset, maxlinelen=70, header_name="Subject").encode().encode()
        except UnicodeEncodeError:
            return email.header.Header(title, "utf-8", maxlinelen=70, header_name="Subject").encode().encode()

    def language(self) -> str:
        """A language; half of all mail is English."""
        return self.rng.choices(LANGUAGES, [10, 4, 3, 2, 2])[0]

    def boundary(self) -> str:
        """A MIME boundary of one of several programs' shapes."""
        token = f"{self.rng.getrandbits(80):020x}"
        return self.rng.choice([f"=_{token}", f"----=_NextPart_000_{token[:8]}", f"Apple-Mail-{token[:12].upper()}", f"b1_{token}"])

    def message_id(self, sender: str) -> bytes:
        """A Message-ID of the sender's domain."""
        return f"<{self.rng.getrandbits(64):x}@{sender.rsplit('@', 1)[1]}>".encode()

    def blob(self) -> bytes:
        """Base64 lines of an attachment that nothing compresses."""
        return base64.encodebytes(self.rng.randbytes(self.rng.randint(*self._attachment)))

    # What the transport adds.

    def _address(self, address: str) -> bytes:
        local = address.split("@")[0]
        plain = all(char.isalnum() or char in "._-" for char in local)
        return f"{local.replace('.', ' ').title()} <{address}>".encode() if plain and self.rng.random() < 0.6 else f"<{address}>".encode()

    def _trace(self, return_path: str, recipient: str, when: int) -> bytes:
        date = email.utils.formatdate(when)
        relay = self.rng.randint(0, 2)
        lines = [
            f"Return-Path: <{return_path}>",
            f"Delivered-To: {recipient}",
            f"Received: from mx{relay}.relay.example (mx{relay}.relay.example [192.0.2.{self.rng.randint(1, 250)}])",
            f"\tby imap7.austin.example (Postfix) with ESMTPS id {self.rng.getrandbits(40):010X}",
            f"\tfor <{recipient}>; {date}",
        ]
        for hop in range(self.rng.randint(0, 2)):
            lines += [
                f"Received: by mx{relay}.relay.example id {self.rng.getrandbits(32):08x}h{hop}; {email.utils.formatdate(when - 2 - hop)}"
            ]
        return ("\n".join(lines) + "\n").encode()

    def _sign(self, raw: bytes, sender: str, when: int) -> bytes:
        """Prepends a DKIM-Signature made at `when`."""
        import dkim

        header, body = self.rng.choice([(b"relaxed", b"relaxed"), (b"relaxed", b"simple"), (b"simple", b"simple")])
        domain = sender.rsplit("@", 1)[1].encode()
        crlf = raw.replace(b"\n", b"\r\n")
        # dkimpy writes today's time into t=; the signature must depend on the seed only.
        with mock.patch.object(dkim.time, "time", lambda: when):
            signature = dkim.sign(
                crlf, SELECTOR, domain, signing_key(), canonicalize=(header, body), include_headers=[b"from", b"to", b"subject", b"date"]
            )
        return signature.replace(b"\r\n", b"\n") + raw


def signing_key() -> bytes:
    """The test key, PEM."""
    return (HERE / "dkim-test-key.pem").read_bytes()


def public_record(name: bytes, timeout: int = 5) -> bytes:
    """The TXT record of every `lab._domainkey` name; give it to dkimpy as `dnsfunc`."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(signing_key(), None).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


def transfer_encode(data: bytes, transfer: str) -> bytes:
    """`data` in a Content-Transfer-Encoding."""
    if transfer == "base64":
        return base64.encodebytes(data)
    if transfer == "quoted-printable":
        return quopri.encodestring(data)
    return data


def multipart(subtype: str, boundary: str, parts: Iterable[tuple[list[bytes], bytes]], closing: bool = True) -> tuple[list[bytes], bytes]:
    """Content headers and body of a multipart; `closing` writes the last boundary."""
    mark = boundary.encode()
    out = b""
    for content, body in parts:
        out += b"--" + mark + b"\n" + b"\n".join(content) + b"\n\n" + body + (b"" if body.endswith(b"\n") else b"\n")
    if closing:
        out += b"--" + mark + b"--\n"
    return [f'Content-Type: multipart/{subtype}; boundary="{boundary}"'.encode()], out


# The kinds. Each takes the writer, sender, recipient and time, and returns a draft.


def _plain(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    language = writer.language()
    content, body = writer.text_part(language, writer.rng.randint(1, 6))
    return Draft(writer.subject(language), content, body)


def _alternative(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    language = writer.language()
    text = writer.text(language, writer.rng.randint(1, 4))
    rows = "".join(f"<p>{part}</p>\n" for part in text.split("\n\n"))
    html = f'<html><head><meta charset="utf-8"></head>\n<body>\n{rows}</body></html>\n'
    parts = [
        (
            [b"Content-Type: text/plain; charset=utf-8", b"Content-Transfer-Encoding: quoted-printable"],
            transfer_encode(text.encode(), "quoted-printable"),
        ),
        ([b"Content-Type: text/html; charset=utf-8", b"Content-Transfer-Encoding: base64"], transfer_encode(html.encode(), "base64")),
    ]
    content, body = multipart("alternative", writer.boundary(), parts)
    return Draft(writer.subject(language), content, body)


def _attachment(writer: Writer, name: str) -> tuple[list[bytes], bytes]:
    kind = writer.rng.choice(["application/pdf", "image/jpeg", "application/octet-stream"])
    content = [
        f"Content-Type: {kind}".encode(),
        b"Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment; filename="{name}"'.encode(),
    ]
    return content, writer.blob()


def _mixed(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    language = writer.language()
    parts = [writer.text_part(language, writer.rng.randint(1, 2))]
    parts += [_attachment(writer, f"plan-{writer.rng.randint(1, 999)}.pdf") for _ in range(writer.rng.choice([1, 1, 2]))]
    content, body = multipart("mixed", writer.boundary(), parts)
    return Draft(writer.subject(language), content, body)


def _nested(writer: Writer, sender: str, recipient: str, when: int) -> Draft:
    """A forwarded message whose own Delivered-To names somebody else."""
    inner = writer.message(recipient, "nobody.else@elsewhere.example", when - 86_400, kind="alternative", signed=0)
    parts = [writer.text_part("en", 1), ([b"Content-Type: message/rfc822", b"Content-Disposition: attachment"], inner)]
    content, body = multipart("mixed", writer.boundary(), parts)
    return Draft(b"Fwd: " + writer.title("en").encode(), content, body)


def _encoded_subject(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    language = writer.rng.choice(["ja", "ru", "de"])
    title = writer.title(language) + " / " + writer.title("ja" if language == "de" else language)
    subject = email.header.Header(title, "utf-8", maxlinelen=60, header_name="Subject").encode().encode()
    content, body = writer.text_part(language, 2)
    return Draft(subject, content, body)


def _long_headers(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    references = [writer.message_id("list@thread.example") for _ in range(40)]
    crowd = [f"guest.{number}@customer.example" for number in range(60)]
    extra = [
        b"References: " + b"\n\t".join(references),
        b"In-Reply-To: " + references[-1],
        ("Cc: " + ",\n ".join(crowd)).encode(),
        # Unfolded on purpose: longer than the 998 bytes that RFC 5322 allows.
        b"X-Spam-Report: " + b"rule " * 400,
    ]
    content, body = writer.text_part("en", 1)
    return Draft(b"Re: " + writer.title("en").encode(), content, body, extra)


def _raw_8bit_headers(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    language = writer.rng.choice(["de", "fr", "ru"])
    charset = {"de": "iso-8859-15", "fr": "utf-8", "ru": "koi8-r"}[language]
    content, body = writer.text_part(language, 2)
    extra = ["X-Organisation: Gärtnerei Übersee".encode("iso-8859-1")]
    return Draft(writer.title(language).encode(charset), content, body, extra)


def _list_mail(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    content, body = writer.text_part("en", writer.rng.randint(1, 4))
    extra = [
        b"List-Id: The orchard <orchard.lists.example>",
        b"List-Post: <mailto:orchard@lists.example>",
        b"List-Unsubscribe: <https://lists.example/orchard>,\n\t<mailto:orchard-leave@lists.example>",
        b"Precedence: list",
        b"Sender: orchard-bounces@lists.example",
    ]
    footer = b"_" * 47 + b"\norchard mailing list\nhttps://lists.example/orchard\n" if writer.rng.random() < 0.5 else b""
    return Draft(b"[orchard] " + writer.title("en").encode(), content, body, extra, footer, return_path="orchard-bounces@lists.example")


def _bounce(writer: Writer, sender: str, recipient: str, when: int) -> Draft:
    original = writer.message(recipient, "gone@customer.example", when - 600, kind="plain", signed=0, delivered=False)
    status = b"Reporting-MTA: dns; mx1.relay.example\n\nFinal-Recipient: rfc822; gone@customer.example\nAction: failed\nStatus: 5.1.1\n"
    parts = [
        (
            [b"Content-Type: text/plain; charset=us-ascii"],
            b"This is the mail system at host mx1.relay.example.\n\nThe message below could not be delivered.\n",
        ),
        ([b"Content-Type: message/delivery-status"], status),
        ([b"Content-Type: message/rfc822"], original),
    ]
    content, body = multipart('report; report-type="delivery-status"', writer.boundary(), parts)
    return Draft(b"Undelivered Mail Returned to Sender", content, body, [b"Auto-Submitted: auto-replied"], return_path="")


def _no_final_newline(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    if writer.rng.random() < 0.5:
        content, body = multipart("mixed", writer.boundary(), [writer.text_part("en", 1), _attachment(writer, "note.bin")])
    else:
        content, body = writer.text_part("en", 2)
    return Draft(writer.subject("en"), content, body.rstrip(b"\n"))


def _odd_bytes(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    """Bytes that no charset explains; bare CR, but no NUL, which IMAP cannot carry."""
    noise = bytes(writer.rng.choice(b"\x01\x02\x07\x08\x0b\x0c\x1a\x1b\x7f\x80\xa0\xfe\xff abc\t") for _ in range(400))
    text = writer.text("en", 1).encode()
    body = (
        text + noise + b"\n" + b"progress 10%\rprogress 90%\rdone\n" + b"From the middle of a line, and\nFrom the start of one.\n.\n" + text
    )
    return Draft(writer.subject("en"), [b"Content-Type: text/plain", b"Content-Transfer-Encoding: 8bit"], body, signable=False)


def _long_lines(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    line = " ".join(paragraphs("en"))
    body = (line[: writer.rng.randint(2_000, len(line))] + "\n") * 2
    return Draft(writer.subject("en"), [b"Content-Type: text/plain; charset=us-ascii"], body.encode())


def _empty(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    return Draft(writer.subject("en"), [b"Content-Type: text/plain"], b"")


def _hostile(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    parts = [writer.text_part("en", 1), _attachment(writer, "../../../../../etc/passwd")]
    boundary = writer.boundary()
    content, body = multipart("mixed", boundary, parts)
    decoy = b"Delivered-To: somebody@elsewhere.example\nReceived: by nowhere for <third@elsewhere.example>; today\n\n"
    body = b"This preamble lies.\n" + decoy + body + decoy + b"--" + boundary.encode() + b"-not-a-boundary\n"
    extra = [b'X-Html: <a href="javascript:alert(1)">', b"X-Path: ../../../../tmp/\x1b[1mroot"]
    return Draft(writer.rng.choice(HOSTILE_SUBJECTS), content, body, extra)


def _unclosed(writer: Writer, _sender: str, _recipient: str, _when: int) -> Draft:
    """A multipart that was never closed, as its sender wrote it: not damage."""
    content, body = multipart("mixed", writer.boundary(), [writer.text_part("en", 1), writer.text_part("de", 1)], closing=False)
    return Draft(writer.subject("en"), content, body)


# Kind: (weight among the kinds, maker).
KINDS: dict[str, tuple[float, Callable[[Writer, str, str, int], Draft]]] = {
    "plain": (40, _plain),
    "alternative": (14, _alternative),
    "mixed": (10, _mixed),
    "nested": (4, _nested),
    "encoded-subject": (5, _encoded_subject),
    "long-headers": (2, _long_headers),
    "8bit-headers": (3, _raw_8bit_headers),
    "list": (8, _list_mail),
    "bounce": (3, _bounce),
    "no-final-newline": (3, _no_final_newline),
    "odd-bytes": (2, _odd_bytes),
    "long-lines": (1.5, _long_lines),
    "empty": (2, _empty),
    "hostile": (2.5, _hostile),
    "unclosed": (1, _unclosed),
}
