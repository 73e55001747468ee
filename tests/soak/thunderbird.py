"""Thunderbird with an account here lists, reads, sends, moves, searches, and is told of new mail,
all by its own code and inside TLS; a screenshot of each step.

    script/thunderbird FOLDER      the screenshots go there

For before a release, and for eyes. It needs Debian's thunderbird and xvfb. Thunderbird is led by
Marionette, the remote control that Mozilla's programs have; each step fails if what it should have
done is not seen within a minute.
"""

import base64
import json
import os
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ALICE, DISPLAY, PORT, OFFSET = "alice@example.test", ":83", 2828, 17_000
START_LIMIT = 60.0  # seconds
WAIT = 60_000  # milliseconds for each step

PREFERENCES = {
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "mail.rights.version": 1,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "mail.warn_on_send_accel_key": False,
}

# What every step may use. `until` waits for something to become true, `hdrs` are a folder's mail.
COMMON = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const until = async (what, seen) => {
  for (let tries = 0; tries < 550; tries++) {
    const found = await seen();
    if (found) return found;
    await new Promise(done => window.setTimeout(done, 100));
  }
  throw new Error("not seen within a minute: " + what);
};
const server = MailServices.accounts.accounts.map(one => one.incomingServer)
  .find(one => one.type == "imap");
const root = server?.rootFolder;
const folder = name => root.descendants.find(one => one.name == name || one.prettyName == name);
const inbox = root?.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
const hdrs = one => [...one.messages];
const named = (one, text) => hdrs(one).find(hdr => hdr.mime2DecodedSubject == text);
"""

OPEN = """
const certificates = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
certificates.addCertFromBase64(args[0], "C,C,C");
const made = MailServices.accounts.createIncomingServer(args[1], "localhost", "imap");
made.port = args[2];
made.socketType = Ci.nsMsgSocketType.SSL;
made.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
made.password = "secret";
const smtp = MailServices.outgoingServer.createServer("smtp").QueryInterface(Ci.nsISmtpServer);
smtp.hostname = "localhost";
smtp.port = args[3];
smtp.socketType = Ci.nsMsgSocketType.SSL;
smtp.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
smtp.username = args[1];
smtp.password = "secret";
const identity = MailServices.accounts.createIdentity();
identity.email = args[1];
identity.fullName = "Alice";
identity.smtpServerKey = smtp.key;
const account = MailServices.accounts.createAccount();
account.incomingServer = made;
account.addIdentity(identity);
MailServices.accounts.defaultAccount = account;
made.getNewMessages(made.rootFolder, null, null);
const inboxOf = () => made.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
await until("an inbox with mail", () => inboxOf() && inboxOf().getTotalMessages(false) == args[4]);
return made.rootFolder.descendants.map(one => one.name);
"""

LIST = """
const pane = window.document.getElementById("tabmail").currentAbout3Pane;
pane.displayFolder(inbox);
await until("a list of mail", () => pane.gDBView && pane.gDBView.rowCount == args[0]);
return hdrs(inbox).map(one => one.mime2DecodedSubject);
"""

READ = """
const pane = window.document.getElementById("tabmail").currentAbout3Pane;
const hdr = named(inbox, args[0]);
pane.selectMessage(hdr);
const text = () => pane.messageBrowser.contentWindow?.getMessagePaneBrowser?.()
  ?.contentDocument?.body?.textContent ?? "";
await until("the text", () => text().includes(args[1]));
await until("the flag", () => hdr.isRead || (hdr.markRead(true), true));
return text();
"""

SEND = """
const fields = Cc["@mozilla.org/messengercompose/composefields;1"]
  .createInstance(Ci.nsIMsgCompFields);
fields.to = args[0];
fields.subject = args[1];
fields.body = args[2];
const params = Cc["@mozilla.org/messengercompose/composeparams;1"]
  .createInstance(Ci.nsIMsgComposeParams);
params.composeFields = fields;
params.format = Ci.nsIMsgCompFormat.PlainText;
params.identity = MailServices.accounts.defaultAccount.defaultIdentity;
MailServices.compose.OpenComposeWindowWithParams(null, params);
const composing = await until("a window to write in", () => {
  const found = Services.wm.getMostRecentWindow("msgcompose");
  return found?.document.readyState == "complete" && found.gMsgCompose && found;
});
await until("the text in it", () => composing.gMsgCompose.editor);
composing.SendMessage();
await until("the window's end", () => !Services.wm.getMostRecentWindow("msgcompose"));
await until("the copy", () => {
  const sent = root.getFolderWithFlags(Ci.nsMsgFolderFlags.SentMail);
  sent?.updateFolder(null);
  return sent && named(sent, args[1]);
});
return root.getFolderWithFlags(Ci.nsMsgFolderFlags.SentMail).name;
"""

ARRIVES = """
await until("new mail that is told", () => named(inbox, args[0]));
return inbox.getNumUnread(false);
"""

MOVE = """
root.createSubfolder(args[1], null);
const target = await until("the new folder", () => folder(args[1]));
const hdr = named(inbox, args[0]);
MailServices.copy.copyMessages(inbox, [hdr], target, true, null, null, false);
await until("the message there", () => (target.updateFolder(null), named(target, args[0])));
await until("its end here", () => (inbox.updateFolder(null), !named(inbox, args[0])));
const pane = window.document.getElementById("tabmail").currentAbout3Pane;
pane.displayFolder(target);
return target.getTotalMessages(false);
"""

SEARCH = """
const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(
  Ci.nsIMsgSearchSession);
session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, inbox);
const term = session.createTerm();
const value = term.value;
value.attrib = Ci.nsMsgSearchAttrib.Body;
value.str = args[0];
term.value = value;
term.attrib = Ci.nsMsgSearchAttrib.Body;
term.op = Ci.nsMsgSearchOp.Contains;
session.appendTerm(term);
const found = [];
let over = false;
session.registerListener({
  onSearchHit(hdr) { found.push(hdr.mime2DecodedSubject); },
  onSearchDone() { over = true; },
  onNewSearch() {},
});
session.search(null);
await until("the end of a search", () => over);
return found.sort();
"""


class Marionette:
    """The remote control: JSON with its length in front; numbered questions and answers."""

    def __init__(self) -> None:
        self._socket = self._connect()
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._read()
        self._ask("WebDriver:NewSession", {})
        self._ask("Marionette:SetContext", {"value": "chrome"})
        self._ask("WebDriver:SetTimeouts", {"script": 2 * WAIT})

    def run(self, script: str, *args: object) -> Any:
        """What the script gives, inside Thunderbird's own window."""
        wrapped = (
            "const done = arguments[arguments.length - 1], args = arguments;"
            f"(async () => {{ {COMMON} {script} }})()"
            ".then(ok => done({ ok }), error => done({ error: `${error}\\n${error.stack}` }));"
        )
        found = self._ask("WebDriver:ExecuteAsyncScript", {"script": wrapped, "args": list(args)})
        if "error" in found["value"]:
            raise SystemExit(found["value"]["error"])
        return found["value"].get("ok")

    def picture(self, path: Path) -> None:
        """The window as it looks now."""
        time.sleep(1)  # for what is still being drawn
        data = self._ask("WebDriver:TakeScreenshot", {"full": False, "hash": False})["value"]
        path.write_bytes(base64.b64decode(data))

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                return socket.create_connection(("127.0.0.1", PORT), 3 * WAIT / 1000)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _ask(self, name: str, params: dict[str, object]) -> Any:
        self._number += 1
        data = json.dumps([0, self._number, name, params]).encode()
        self._socket.sendall(b"%d:%b" % (len(data), data))
        _, _, error, result = self._read()
        if error:
            raise SystemExit(f"{name}: {error['message']}")
        return result

    def _read(self) -> Any:
        size = b""
        while (octet := self._file.read(1)) != b":":
            if not octet:
                raise SystemExit("Thunderbird hung up")
            size += octet
        return json.loads(self._file.read(int(size)))


@contextmanager
def running(name: str, *words: str, log: Path, **more: str) -> Iterator[None]:
    """The program, until the end of the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [name, *words], stdout=out, stderr=out, env={**os.environ, **more}
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def deliver(subject: str, text: str) -> None:
    """Mail from outside."""
    message = (
        f"From: Bob <bob@example.com>\r\nTo: {ALICE}\r\nSubject: {subject}\r\n"
        "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    )
    with smtplib.SMTP("127.0.0.1", 2525 + OFFSET) as client:
        client.sendmail("bob@example.com", [ALICE], message.encode())


def check(step: str, held: bool, seen: object) -> None:
    """SystemExit if the step was not what it should be."""
    print(f"{step}: {seen}", flush=True)
    if not held:
        raise SystemExit(f"{step} went wrong")


def go(thunderbird: Marionette, ca: Path, pictures: Path) -> None:
    """All steps."""
    pem = "".join(ca.read_text().split("-----")[2].split())
    ports = 2993 + OFFSET, 2465 + OFFSET
    folders = thunderbird.run(OPEN, pem, ALICE, *ports, 2)
    check("open", {"Drafts", "Sent", "Trash", "Junk"} <= set(folders), folders)
    thunderbird.picture(pictures / "1-open.png")
    listed = thunderbird.run(LIST, 2)
    check("list", sorted(listed) == ["Grüße aus Köln", "Lunch?"], listed)
    thunderbird.picture(pictures / "2-list.png")
    text = thunderbird.run(READ, "Grüße aus Köln", "Schöne Zeit")
    check("read", "Schöne Zeit" in text, text.strip())
    thunderbird.picture(pictures / "3-read.png")
    sent = thunderbird.run(SEND, ALICE, "From Thunderbird", "Sent by itself")
    check("send", sent == "Sent", sent)
    thunderbird.run(ARRIVES, "From Thunderbird")
    time.sleep(4)  # it overlooks what it is told while it fetches a message; then it idles
    deliver("Just now", "Nobody asked for it")
    unread = thunderbird.run(ARRIVES, "Just now")
    check("new mail", unread >= 1, f"{unread} unread")
    thunderbird.picture(pictures / "4-new-mail.png")
    found = thunderbird.run(SEARCH, "schöne")
    check("search", found == ["Grüße aus Köln"], found)
    moved = thunderbird.run(MOVE, "Lunch?", "Reisen & Köln")
    check("move", moved == 1, moved)
    thunderbird.picture(pictures / "5-moved.png")


def main(pictures: Path) -> None:
    """A server, a display, Thunderbird with a new profile, and the steps."""
    for name in ("thunderbird", "Xvfb"):
        if shutil.which(name) is None:
            raise SystemExit(f"{name} is not installed: apt-get install thunderbird xvfb")
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "profile").mkdir()
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
        (folder / "profile/user.js").write_text("\n".join(lines))
        local = ("-m", "mailstead", "localserve", "--data", f"{name}/data")
        birdlike = ("--marionette", "-remote-allow-system-access", "--no-remote")
        with (
            running(
                sys.executable, *local, "--port-offset", str(OFFSET), log=folder / "server.log"
            ),
            running("Xvfb", DISPLAY, "-screen", "0", "1280x900x24", log=folder / "x.log"),
        ):
            _wait_for(2993 + OFFSET)
            deliver("Lunch?", "At noon?")
            deliver("Grüße aus Köln", "Schöne Zeit hier")
            with running(
                "thunderbird",
                *birdlike,
                *("--profile", f"{name}/profile"),
                log=folder / "thunderbird.log",
                DISPLAY=DISPLAY,
                HOME=name,
            ):
                go(Marionette(), folder / "data/tls/ca.pem", pictures)
    print(f"all is well; screenshots are in {pictures}")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
