import json, pathlib, sys, time, urllib.error, urllib.request, uuid
URL, KEY = "{URL}/api/v1", "{KEY}"
BASE, CHATBOT = "{KNOWLEDGE_BASE}", "{CHATBOT}"
path, question = pathlib.Path(sys.argv[1]), sys.argv[2]

def call(method, where, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Api-Key " + KEY, "Content-Type": "application/json"}
    request = urllib.request.Request(URL + where, data, headers, method=method)
    try:
        return urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        sys.exit(error.read().decode())

content = path.read_bytes()
form = json.load(call("POST", "/upload-presigned-url/", {
    "filename": path.name, "modelName": "chatbot-file", "fieldName": "file", "fileSize": len(content)}))
mark = uuid.uuid4().hex
parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form["fields"].items()]
head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="document"\r\n\r\n'
body = "".join(parts + [head]).encode() + content + f"\r\n--{mark}--\r\n".encode()
urllib.request.urlopen(urllib.request.Request(
    form["url"], body, {"Content-Type": "multipart/form-data; boundary=" + mark}))
file = json.load(call("POST", f"/knowledge-bases/{BASE}/files/", {
    "files": [{"file": form["fields"]["key"], "filename": path.name}]}))[0]
while file["status"] not in ("done", "failed"):
    time.sleep(0.3)
    file = json.load(call("GET", f"/knowledge-bases/{BASE}/files/{file['id']}/"))
    print(file["filename"], file["status"], file["progress"]["stage"])
if file["status"] == "failed":
    sys.exit(file["failedReason"])
for line in call("POST", f"/chatbots/{CHATBOT}/completions/", {"message": {"content": question}, "isStreaming": True}):
    if line.startswith(b"data: "):
        event = json.loads(line[6:])
        print(event["content"], end="", flush=True)
        if event["done"]:
            print()
            for node in event.get("citationNodes", []):
                passage = node["chatbotTextNode"]
                page = f", p. {passage['pageNumber']}" if passage["pageNumber"] else ""
                print(f"[{node['index']}] {passage['filename']}{page}: {passage['text'][:60]}")
            if "error" in event:
                sys.exit(event["error"]["message"])
