#!/usr/bin/env python3
"""Measures retrieval through the API of a running server, on a reading-comprehension set.

    scripts/measure-retrieval.py --key KEY --squad dev.json            a set in the form of SQuAD, DRCD, CMRC 2018
    scripts/measure-retrieval.py --key KEY PASSAGES.jsonl QUESTIONS.jsonl

The lines of the second form are {"id": 7, "text": "..."} and {"question": "...", "passage": 7}, as in
crates/retrieval/tests/it/samples. Makes a knowledge base of one file in which each paragraph is a row (so
a passage, or several if it is long), waits until it is searchable, asks every question, prints recall@1,
recall@5 and MRR@10 over the paragraphs in the order of their first passage, and deletes the base. Without an embedding model at the base this measures search by words alone.

Needs Python 3.9 and nothing else. The sets themselves are not part of the project; their licences differ.
"""

import argparse
import json
import random
import sys
import time
import urllib.error
import urllib.request
import uuid

PASSAGES = 20


class Api:
    def __init__(self, url, key):
        self.url, self.key = url.rstrip("/"), key

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Api-Key {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers, method=method)
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    sys.exit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}")
                time.sleep(int(error.headers.get("Retry-After", "1")))

    def upload(self, name, content):
        announced = {"filename": name, "modelName": "chatbot-file", "fieldName": "file", "fileSize": len(content)}
        form = self.call("POST", "upload-presigned-url/", announced)
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in form["fields"].items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n".encode()
        )
        body = b"".join(parts) + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        urllib.request.urlopen(urllib.request.Request(form["url"], body, headers), timeout=60).close()
        return form["fields"]["key"]


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def squad(path, count, seed):
    """`count` random paragraphs of a set, and one random question of each."""
    with open(path, encoding="utf-8") as file:
        paragraphs = [one for article in json.load(file)["data"] for one in article["paragraphs"] if one["qas"]]
    chosen = random.Random(seed)
    paragraphs = chosen.sample(paragraphs, min(count, len(paragraphs)))
    passages = {number: one["context"] for number, one in enumerate(paragraphs)}
    return passages, [(chosen.choice(one["qas"])["question"], number) for number, one in enumerate(paragraphs)]


def plain(text):
    return "".join(text.split())


def measure(api, passages, questions):
    base = api.call("POST", "knowledge-bases/", {"name": "Retrieval", "numberOfRetrievedChunks": PASSAGES,
                                                 "enableRerank": False, "sentenceWindowSize": 0})["id"]
    try:
        rows = [json.dumps({"text": text}, ensure_ascii=False) for text in passages.values()]
        key = api.upload("set.jsonl", "\n".join(rows).encode())
        api.call("POST", f"knowledge-bases/{base}/files/", {"files": [{"file": key, "filename": "set.jsonl"}]})
        while (file := api.call("GET", f"knowledge-bases/{base}/files/")["results"][0])["status"] != "done":
            if file["status"] == "failed":
                sys.exit(f"the set could not be read: {file}")
            time.sleep(0.2)
        texts = {number: plain(text) for number, text in passages.items()}
        owners = {}
        ranks = []
        for question, wanted in questions:
            found = api.call("POST", f"knowledge-bases/{base}/search/", {"query": question[:2000]})
            paragraphs = []
            for one in found:
                if one["id"] not in owners:
                    part = plain(one["text"]).removeprefix("text:")
                    owners[one["id"]] = next((number for number, text in texts.items() if part in text), None)
                if owners[one["id"]] not in paragraphs:
                    paragraphs.append(owners[one["id"]])
            ranks.append(paragraphs.index(wanted) if wanted in paragraphs else None)
    finally:
        api.call("DELETE", f"knowledge-bases/{base}/")
    share = lambda best: sum(rank is not None and rank < best for rank in ranks) / len(ranks)
    reciprocal = sum(1 / (rank + 1) for rank in ranks if rank is not None and rank < 10) / len(ranks)
    print(f"{len(passages)} paragraphs, {len(ranks)} questions: recall@1 {share(1):.3f}, "
          f"recall@5 {share(5):.3f}, MRR@10 {reciprocal:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--key", required=True)
    parser.add_argument("--squad", help="a set in the form of SQuAD")
    parser.add_argument("--count", type=int, default=1000, help="paragraphs of that set (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="*", metavar="JSONL")
    arguments = parser.parse_args()
    if arguments.squad:
        passages, questions = squad(arguments.squad, arguments.count, arguments.seed)
    elif len(arguments.files) == 2:
        passages = {line["id"]: line["text"] for line in lines(arguments.files[0])}
        questions = [(line["question"], line["passage"]) for line in lines(arguments.files[1])]
    else:
        parser.error("give --squad FILE, or PASSAGES.jsonl QUESTIONS.jsonl")
    measure(Api(arguments.url, arguments.key), passages, questions)


if __name__ == "__main__":
    main()
