"""A stand-in for the prediction server, as a program."""

SERVER = """
import argparse, http.server, json, os, sys, threading, time
parser = argparse.ArgumentParser()
parser.add_argument("--host")
host = parser.parse_args().host
mode = os.environ.get("MODE", "")
print("starting", mode, flush=True)
if mode == "exits": sys.exit(3)
begin = time.monotonic()
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, code, data):
        body = json.dumps(data).encode()
        self.send_response(code); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
    def do_GET(self):
        if self.path == "/openapi.json": return self.answer(200, {"openapi": "3.0.2"})
        early = time.monotonic() - begin < 0.3
        if mode == "fails": return self.answer(200, {"status": "SETUP_FAILED", "setup": {"logs": "no gpu"}})
        if mode == "odd": return self.answer(200, {"status": "DEFUNCT"})
        self.answer(200, {"status": "STARTING" if early or mode == "slow" else "READY"})
    def do_POST(self):
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        x = data["input"].get("x")
        if x == "die": os._exit(9)
        if x == "bad":
            return self.answer(422, {"detail": [{"loc": ["body", "input", "x"], "msg": "too bad", "type": "v"}]})
        if x == "500": return self.answer(500, {"error": "oh"})
        if x == "fail": return self.answer(200, {"status": "failed", "error": "boom", "logs": ""})
        self.answer(200, {"status": "succeeded", "output": [x, os.getcwd(), host], "logs": "l"})
http.server.ThreadingHTTPServer((host, int(os.environ["PORT"])), Handler).serve_forever()
"""
