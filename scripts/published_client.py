"""A client that knows only the published pages: it walks through the API as an integrator would.

    published_client.py URL KEY RECEIVER_PORT

Everything is done twice, with snake_case and with camelCase bodies: presign, upload, document,
conversation, message with an attachment, the reply by webhook (verified by an independent Standard
Webhooks library) and by polling, feedback, credentials of a contact. Ends with status 0 when all of
it is as published.
"""

import http.server
import json
import queue
import re
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from standardwebhooks import Webhook, WebhookVerificationError

BASE, KEY, RECEIVER_PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
MILLISECONDS = re.compile(r"^\d{13}$")
WAIT_SECONDS = 60


def snake(value):
    """The body with snake_case keys."""
    if isinstance(value, dict):
        return {re.sub(r"(?<!^)([A-Z])", lambda m: "_" + m.group(1).lower(), k): snake(v) for k, v in value.items()}
    if isinstance(value, list):
        return [snake(item) for item in value]
    return value


def request(method, url, body=None, headers=None):
    """The status, headers and decoded body of an answer."""
    call = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(call, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Client:
    """Calls the API with one style of keys in its bodies."""

    def __init__(self, style):
        self.style = style

    def call(self, method, path, body=None, expect=200):
        data = None
        headers = {"Authorization": f"Api-Key {KEY}", "Accept": "application/json, text/plain, */*"}
        if body is not None:
            data = json.dumps(self.style(body)).encode()
            headers["Content-Type"] = "application/json"
        status, _, text = request(method, f"{BASE}/api/v1/{path}", data, headers)
        assert status == expect, f"{method} {path}: {status} instead of {expect}: {text[:500]!r}"
        return json.loads(text) if text else None

    def upload(self, filename, content, model):
        """Presigns and uploads a file; its key."""
        size = len(content)
        form = self.call(
            "POST",
            "upload-presigned-url/",
            {"filename": filename, "modelName": model, "fieldName": "file", "fileSize": size},
        )
        names = {"key", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "policy", "x-amz-signature"}
        assert set(form["fields"]) == names, form
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in form["fields"].items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode()
            + content
            + f"\r\n--{boundary}--\r\n".encode()
        )
        content_type = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, _, text = request("POST", form["url"], b"".join(parts), content_type)
        assert (status, text) == (204, b""), (status, text)
        return form["fields"]["key"]


class Receiver:
    """Takes webhooks and keeps them with their headers."""

    def __init__(self):
        received = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.put((dict(self.headers.items()), body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.received = received
        server = http.server.ThreadingHTTPServer(("127.0.0.1", RECEIVER_PORT), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def next(self):
        return self.received.get(timeout=WAIT_SECONDS)


def until(what, attempt):
    """Polls until `attempt` gives something."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        found = attempt()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {WAIT_SECONDS} s")


def check_message(message):
    """The published fields of a message."""
    for field in (
        "id conversation sender type content contentPayload feedback createdAt attachments citations citationNodes "
        "canvas queryMetadata"
    ).split():
        assert field in message, f"a message without {field}: {message}"
    assert MILLISECONDS.match(message["createdAt"]), message["createdAt"]
    sender = message["sender"]
    assert sender is None or (isinstance(sender["id"], int) and 0 < sender["id"] < 2**53), sender
    for node in message["citationNodes"]:
        assert 0 <= node["score"] <= 1 and isinstance(node["displayScore"], int), node
        assert {"id", "text", "filename", "chatbotFile", "pageNumber", "charactersCount"} <= set(node["chatbotTextNode"])


def walk(name, client, receiver):
    """The whole flow."""
    word = f"heron-{name}"
    base = client.call("POST", "knowledge-bases/", {"name": f"Base {name}"}, 201)["id"]
    text = f"The {word} warranty lasts thirty-one months and covers the motor.\n保固期限為三十一個月。\n"
    key = client.upload(f"{word}.txt", text.encode(), "chatbot-file")
    files = client.call("POST", f"knowledge-bases/{base}/files/", {"files": [{"file": key, "filename": f"{word}.txt"}]}, 201)
    assert isinstance(files, list) and len(files) == 1, files
    file = files[0]["id"]

    def done():
        status = client.call("GET", f"knowledge-bases/{base}/files/{file}/")["status"]
        assert status != "failed", "the document failed"
        return status == "done"

    until("ingestion", done)
    hook = f"http://127.0.0.1:{RECEIVER_PORT}/hook"
    chatbot = client.call(
        "POST", "chatbots/", {"name": f"Bot {name}", "knowledgeBases": [{"id": base}], "webhookUrl": hook}, 201
    )["id"]
    secret = client.call("POST", f"chatbots/{chatbot}/webhook-secret/")["secret"]
    assert secret.startswith("whsec_"), secret

    theme = {"primaryColor": "#3854d8", "navbarTextColor": "#ffffff"}
    web_chat = client.call(
        "POST", "web-chats/", {"name": f"Page {name}", "chatbot": chatbot, "theme": theme, "darkTheme": theme}, 201
    )
    inboxes = client.call("GET", "inboxes/?pageSize=100")
    own = [inbox for inbox in inboxes["results"] if inbox["channel"]["id"] == web_chat["id"]]
    assert [inbox["id"] for inbox in own] == [web_chat["inbox"]["id"]], own

    conversation = client.call("POST", "conversations/", {"webChat": web_chat["id"]}, 201)
    for field in "id contact inbox title lastMessage unreadMessagesCount autoReplyEnabled isAutoReplyNow".split():
        assert field in conversation, f"a conversation without {field}"
    assert conversation["inbox"]["id"] == web_chat["inbox"]["id"]
    notes = client.upload("notes.txt", b"The customer bought it in March.", "attachment")
    attachment = client.call("POST", "attachments/", {"file": notes, "filename": "notes.txt", "type": "other"}, 201)
    sent = client.call(
        "POST",
        "messages/",
        {
            "conversation": conversation["id"],
            "content": f"How long does the {word} warranty last?",
            "attachments": [attachment],
        },
        201,
    )
    check_message(sent)
    assert sent["type"] == "incoming" and "thirty-one" not in sent["content"], sent
    assert [one["id"] for one in sent["attachments"]] == [attachment["id"]], sent["attachments"]

    headers, body = receiver.next()
    verified = Webhook(secret).verify(body, headers)
    try:
        Webhook(secret).verify(body.replace(b"thirty", b"ninety"), headers)
        raise SystemExit("a changed webhook was accepted")
    except WebhookVerificationError:
        pass
    for field in (
        "id conversation conversation_id sender type content feedback created_at createdAt attachments citations "
        "citationNodes contentPayload"
    ).split():
        assert field in verified, f"a webhook without {field}"
    assert verified["type"] == "outgoing" and verified["conversation"] == conversation["id"], verified
    assert "thirty-one" in verified["content"], verified["content"]
    assert [cited["filename"] for cited in verified["citations"]] == [f"{word}.txt"], verified["citations"]

    def reply():
        page = client.call("GET", f"messages/?conversation={conversation['id']}")
        assert {"count", "next", "previous", "results"} <= set(page), page
        return [one for one in page["results"] if one["type"] == "outgoing" and one["content"]]

    replies = until("the reply", reply)
    assert [one["id"] for one in replies] == [verified["id"]], replies
    check_message(replies[0])
    status, _, cited = request("GET", replies[0]["citations"][0]["file"])
    assert (status, cited) == (200, text.encode()), (status, cited[:100])

    message = verified["id"]
    liked = client.call("PUT", f"messages/{message}/feedback/", {"type": "like", "suggestion": "clear"})
    assert liked["feedback"]["type"] == "like" and liked["feedback"]["suggestion"] == "clear", liked
    stored = client.call("GET", f"messages/{message}/?conversation={conversation['id']}")
    assert stored["feedback"]["type"] == "like" and MILLISECONDS.match(stored["feedback"]["updatedAt"]), stored
    client.call("PATCH", f"messages/{message}/", {"feedback": "dislike"})
    stored = client.call("GET", f"messages/{message}/")
    assert stored["feedback"]["type"] == "dislike", stored["feedback"]

    listed = client.call("GET", f"conversations/?inbox={web_chat['inbox']['id']}&keyword={word}")
    assert set(listed) == {"next", "previous", "results"}, set(listed)
    assert [one["id"] for one in listed["results"]] == [conversation["id"]], listed
    client.call("GET", f"conversations/?inbox={web_chat['inbox']['id']}&keyword=nothing-like-it")

    tool = client.call(
        "POST",
        "tools/",
        {"name": f"orders_{name}", "displayName": "Orders", "toolType": "mcp", "mcpUrl": "https://tools.example/mcp"},
        201,
    )["id"]
    canary = f"canary-{uuid.uuid4().hex}"
    credentials = {
        "sourceId": f"member-{name}",
        "name": "Member",
        "mcpCredentials": {"toolId": tool, "headers": {"Authorization": f"Bearer {canary}"}},
    }
    contact = client.call("POST", f"web-chats/{web_chat['id']}/setup-contact-credentials/", credentials)
    again = client.call("POST", f"web-chats/{web_chat['id']}/setup-contact-credentials/", credentials)
    assert contact["contactId"] == again["contactId"] and (contact["created"], again["created"]) == (True, False)
    detail = client.call("GET", f"contacts/{contact['contactId']}/")
    assert [one["tool"]["id"] for one in detail["mcpCredentials"]] == [tool], detail
    assert canary not in json.dumps([contact, again, detail, client.call("GET", "tools/")])
    authorization = {"Authorization": f"Api-Key {KEY}", "Content-Type": "application/json"}
    bad = request("POST", f"{BASE}/api/v1/web-chats/{web_chat['id']}/setup-contact-credentials", b"{}", authorization)
    assert (bad[0], bad[2]) == (400, b""), bad

    spread = client.call("POST", "contacts/broadcast-message", {"message": "We moved.", "inbox_id": web_chat["inbox"]["id"]})
    assert spread["total_contacts"] == 2 and spread["success_count"] == 1 and spread["error_count"] == 1, spread
    latest = client.call("GET", f"contacts/{conversation['contact']['id']}/conversations/latest")
    assert latest["id"] == conversation["id"], latest
    print(f"{name}: all as published")


receiver = Receiver()
walk("snake", Client(snake), receiver)
walk("camel", Client(lambda body: body), receiver)
