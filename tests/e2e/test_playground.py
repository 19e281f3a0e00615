"""The playground in a real browser, as a visitor has it: Debian's Chromium, driven by Selenium."""
import base64
import io
import json
import os
import re
import subprocess

import pytest
import requests
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from conftest import BIN, KEY, PATIENCE, ROOT, Server, chat, environment

FILES = sorted(p.name for p in (ROOT / "web").iterdir())


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    for a in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en", "--window-size=1280,860"):
        options.add_argument(a)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    b = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    b.set_page_load_timeout(PATIENCE)
    b.set_script_timeout(PATIENCE)
    yield b
    b.quit()


def complaints(browser):
    """What the console says of the page's own making: scripts that fail and what its policy forbade."""
    return [x["message"] for x in browser.get_log("browser") if x["level"] == "SEVERE" and "Failed to load resource" not in x["message"]]


def until(browser, what):
    """As soon as what() says something; what was drawn anew while it looked it looks at again."""
    return WebDriverWait(browser, PATIENCE, poll_frequency=0.05, ignored_exceptions=[StaleElementReferenceException]).until(lambda _: what())


def see(browser, css):
    """The first element that matches and is shown."""
    return until(browser, lambda: next((e for e in browser.find_elements(By.CSS_SELECTOR, css) if e.is_displayed()), None))


def go(browser, server, room):
    browser.get("about:blank")
    browser.get(f"{server.url}/#{room}")


def ask(browser, text):
    see(browser, "textarea[name=message]").send_keys(text + Keys.ENTER)


def answered(browser, n):
    """The n-th message once its answer is whole: then there is a button to ask again."""
    return until(browser, lambda: next((a for a in browser.find_elements(By.CSS_SELECTOR, "article.assistant")[n:n + 1]
                                        if any(b.text == "Again" for b in a.find_elements(By.CSS_SELECTOR, "footer button"))), None))


def set_field(browser, name, value):
    e = browser.find_element(By.NAME, name)
    browser.execute_script("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", e, value)


def pixels(browser, image):
    """What a picture of the page shows, at its own size. Its bytes the page's policy lets nobody fetch."""
    url = browser.execute_script("const i = arguments[0], c = document.createElement('canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight;"
                                 " c.getContext('2d').drawImage(i, 0, 0); return c.toDataURL()", image)
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("RGB")


def picture_of(browser, name):
    """For the documents: HEARTH_SCREENSHOTS names the folder that the rooms' pictures go to."""
    if folder := os.environ.get("HEARTH_SCREENSHOTS"):
        shot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB").quantize(128)
        shot.save(os.path.join(folder, name), optimize=True)


def decoded(image):
    """The picture, once the browser has it."""
    return image if image and image.get_property("complete") and image.get_property("naturalWidth") else None


def test_files_are_small_and_closed(server):
    total = 0
    for name in ["", *(f"web/{f}" for f in FILES)]:
        r = server.get(f"/{name}")
        assert r.status_code == 200, name
        policy = r.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert r.headers["X-Content-Type-Options"] == "nosniff"
        total += len(r.content) if name else 0
        if name:
            assert r.content == (ROOT / name).read_bytes()
    assert total < 150_000
    assert server.get("/web/../conftest.py").status_code == 404 and server.get("/web/none.js").status_code == 404


def test_without_it():
    s = Server("--playground=no")
    try:
        assert s.get("/").status_code == 404 and s.get("/web/main.js").status_code == 404
    finally:
        s.stop()


def test_chat(browser, server):
    go(browser, server, "chat")
    see(browser, "aside details summary").click()
    set_field(browser, "max_tokens", "40")
    ask(browser, "What is the capital of France?")
    first = answered(browser, 0)
    assert first.find_element(By.CSS_SELECTOR, ".body").text.strip()
    assert "tokens" in first.find_element(By.CSS_SELECTOR, ".facts").text
    picture_of(browser, "playground.png")
    assert not complaints(browser)


def test_same_seed_same_answer_and_branches(browser, server):
    go(browser, server, "chat")
    browser.find_element(By.XPATH, "//button[text()='New conversation']").click()
    see(browser, "aside details summary").click()
    set_field(browser, "seed", "7")
    set_field(browser, "max_tokens", "12")
    ask(browser, "Tell me of the sea.")
    text = answered(browser, 0).find_element(By.CSS_SELECTOR, ".body").text
    browser.find_element(By.XPATH, "//article//button[text()='Again']").click()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".branches"))
    again = answered(browser, 0)
    assert again.find_element(By.CSS_SELECTOR, ".body").text == text
    assert "2/2" in again.find_element(By.CSS_SELECTOR, ".branches").text
    wanted = requests.post(server.url + "/v1/chat/completions", timeout=PATIENCE, json={
        "model": "smollm2-135m-instruct", "seed": 7, "max_tokens": 12, "messages": [{"role": "user", "content": "Tell me of the sea."}]}).json()
    assert " ".join(text.split()) == " ".join(wanted["choices"][0]["message"]["content"].split())
    # An edited question is a branch of its own; the first is still there.
    browser.find_element(By.XPATH, "//article[contains(@class, 'user')]//button[text()='Edit']").click()
    area = see(browser, "article.user textarea")
    area.clear()
    area.send_keys("Tell me of the hills.")
    browser.find_element(By.XPATH, "//article//button[text()='Send']").click()
    until(browser, lambda: "hills" in browser.find_element(By.CSS_SELECTOR, "article.user").text and answered(browser, 0))
    browser.find_element(By.CSS_SELECTOR, "article.user .branches button").click()
    until(browser, lambda: "sea" in browser.find_element(By.CSS_SELECTOR, "article.user").text)
    browser.refresh()  # it is kept
    until(browser, lambda: any("Tell me of the sea." in b.text for b in browser.find_elements(By.CSS_SELECTOR, ".talks button")))
    assert not complaints(browser)


def test_stop_stops(browser, server):
    go(browser, server, "chat")
    browser.find_element(By.XPATH, "//button[text()='New conversation']").click()
    see(browser, "aside details summary").click()
    set_field(browser, "max_tokens", "4000")
    set_field(browser, "temperature", "1.9")
    cancelled = server.metric("hearth_cancelled_total")
    ask(browser, "Write a very long story about everything there is.")
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "article.assistant .body p"))
    browser.find_element(By.ID, "stop").click()
    assert "stopped" in answered(browser, 0).find_element(By.CSS_SELECTOR, ".facts").text
    server.wait_until(lambda: server.metric("hearth_cancelled_total") == cancelled + 1, "the server went on with what was stopped")
    assert not complaints(browser)


def test_view_code(browser, server, tmp_path):
    go(browser, server, "chat")
    browser.find_element(By.XPATH, "//button[text()='New conversation']").click()
    see(browser, "aside details summary").click()
    set_field(browser, "max_tokens", "8")
    ask(browser, "It's \"quoted\" & $HOME `x`.")
    answered(browser, 0)
    browser.find_element(By.XPATH, "//aside//button[text()='View code']").click()
    curl = see(browser, "dialog pre").text
    assert curl.startswith(f"curl {server.url}/v1/chat/completions")
    out = os.popen(f"cd {tmp_path} && export HEARTH_KEY=x && {curl} -s").read()  # it runs as it stands
    assert out.rstrip().endswith("data: [DONE]"), out
    names = [b.text for b in browser.find_elements(By.CSS_SELECTOR, "dialog [role=tab]")]
    assert names == ["curl", "Python: openai", "Python: fireworks", "JavaScript"]
    for i in (1, 2):
        browser.find_elements(By.CSS_SELECTOR, "dialog [role=tab]")[i].click()
        compile(see(browser, "dialog pre").text, "sample", "exec")
    assert not complaints(browser)


def test_picture(browser, server):
    go(browser, server, "pictures")
    see(browser, "textarea[name=prompt]").send_keys("a red apple on a blue background")
    set_field(browser, "seed", "1")
    previews = browser.execute_script("window.seen = new Set(); new MutationObserver(() => document.querySelectorAll('.stage img').forEach((i) => i.src && seen.add(i.src.slice(0, 5000))))"
                                      ".observe(document.body, {subtree: true, childList: true, attributes: true}); return seen.size")
    assert previews == 0
    browser.find_element(By.ID, "draw").click()
    made = until(browser, lambda: decoded(see(browser, ".grid figure img")))
    wanted = requests.post(server.url + "/v1/images/generations", timeout=PATIENCE, json={
        "model": "starter-image", "prompt": "a red apple on a blue background", "seed": 1, "response_format": "b64_json"}).json()
    assert pixels(browser, made).tobytes() == Image.open(io.BytesIO(base64.b64decode(wanted["data"][0]["b64_json"]))).convert("RGB").tobytes()
    assert browser.execute_script("return seen.size") > 2  # steps were shown as they came
    assert "Seed 1" in browser.find_element(By.CSS_SELECTOR, ".grid figcaption").text
    picture_of(browser, "playground-pictures.png")
    assert not complaints(browser)


def test_mask_is_painted(browser, server):
    go(browser, server, "pictures")
    see(browser, "textarea[name=prompt]").send_keys("a red apple on a blue background")
    set_field(browser, "seed", "3")
    browser.find_element(By.ID, "draw").click()
    before = pixels(browser, until(browser, lambda: decoded(see(browser, ".grid figure img"))))
    browser.find_element(By.XPATH, "//figure//button[text()='Start from it']").click()
    canvas = see(browser, "canvas.mask")
    box = canvas.rect
    webdriver.ActionChains(browser).move_to_element_with_offset(canvas, -box["width"] / 2 + 8, -box["height"] / 2 + 8).click_and_hold() \
        .move_by_offset(box["width"] / 4, 0).release().perform()
    set_field(browser, "seed", "4")
    browser.find_element(By.ID, "draw").click()
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, ".grid figure")) == 2)
    after = pixels(browser, until(browser, lambda: decoded(browser.find_element(By.CSS_SELECTOR, ".grid figure img"))))
    # Far below the paint the picture is as it was; under it, it is another.
    w, h = before.size
    below = (0, 3 * h // 4, w, h)
    difference = max(abs(a - b) for a, b in zip(before.crop(below).tobytes(), after.crop(below).tobytes()))
    assert before.size == after.size and difference <= 2
    assert before.crop((0, 0, w // 4, h // 10)).tobytes() != after.crop((0, 0, w // 4, h // 10)).tobytes()
    assert not complaints(browser)


def test_compare(browser, server):
    go(browser, server, "compare")
    see(browser, "textarea[name=prompt]").send_keys("What is the capital of France?")
    for details in browser.find_elements(By.CSS_SELECTOR, "article details summary"):
        details.click()
    for e in browser.find_elements(By.CSS_SELECTOR, "article [name=max_tokens]"):
        browser.execute_script("arguments[0].value = '8'; arguments[0].dispatchEvent(new Event('input'))", e)
    browser.find_element(By.ID, "run").click()
    until(browser, lambda: all(" s ·" in e.text for e in browser.find_elements(By.CSS_SELECTOR, "article .facts")))
    assert all(e.text.strip() for e in browser.find_elements(By.CSS_SELECTOR, "article .out"))
    assert not complaints(browser)


def test_dashboard(browser, server):
    go(browser, server, "dashboard")
    assert "smollm2-135m-instruct" in see(browser, "table").text
    assert until(browser, lambda: "ready" in browser.find_element(By.CSS_SELECTOR, ".cards").text)
    assert not complaints(browser)


def test_account_of_an_administrator(browser, tmp_path):
    store = str(tmp_path / "account.db")
    key = subprocess.run([BIN, "keys", "new", "--store", store, "--name", "the boss", "--scope", "admin"], capture_output=True, text=True, timeout=PATIENCE,
                         env=environment() | {"HEARTH_CONFIG": "/dev/null"}, check=True).stdout.strip()
    s = Server("--store", store)
    try:
        asked = requests.post(s.url + "/v1/chat/completions", timeout=PATIENCE, headers={"Authorization": f"Bearer {key}"}, json=chat("Hello.", max_tokens=3)).json()
        go(browser, s, "dashboard")
        see(browser, "input[name=key]").send_keys(key + Keys.ENTER)
        usage, keys = until(browser, lambda: (lambda found: found if len(found) == 2 else None)(
            [[c.text for c in t.find_elements(By.CSS_SELECTOR, "tbody td")] for t in browser.find_elements(By.CSS_SELECTOR, "section section > table")]))
        assert usage == [asked["model"], "1", str(asked["usage"]["total_tokens"]), "0", "$0"]
        assert keys[0] == "the boss" and keys[2].startswith("key_") and keys[3] == "good"
        assert not complaints(browser)
    finally:
        browser.execute_script("sessionStorage.clear()")
        s.stop()


def test_a_wrong_key_says_so(browser, keyed):
    go(browser, keyed, "chat")
    box = see(browser, "input[name=key]")
    box.send_keys("wrong" + Keys.ENTER)
    assert "refuses" in see(browser, "[role=alert]").text
    box = see(browser, "input[name=key]")
    box.clear()
    box.send_keys(KEY + Keys.ENTER)
    see(browser, "textarea[name=message]")
    assert browser.execute_script("return localStorage.getItem('hearth-key')") is None  # the session alone keeps it
    browser.execute_script("sessionStorage.clear()")


HOSTILE = """<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">
[click](javascript:window.hacked=3) [data](data:text/html,<script>window.hacked=4</script>) ![p](https://example.com/track.png)
```html
<b onclick="window.hacked=5">x</b></code></pre><script>window.hacked=6</script>
```
| a | <i>b</i> |
|---|---|
| </td><script>window.hacked=7</script> | **x** |
""" + "**" * 3000 + "[" * 3000 + "`" * 3001


def test_hostile_answers_stay_text(browser, server):
    """A model that writes what attacks a page: shown as the text it is, nothing runs, nothing is fetched."""
    go(browser, server, "chat")
    see(browser, "textarea[name=message]")
    found = browser.execute_async_script("""
        const done = arguments[1];
        import("/web/markdown.js").then((m) => {
            const box = document.createElement("div");
            box.append(...m.markdown(arguments[0]));
            document.body.append(box);
            setTimeout(() => done({
                hacked: window.hacked === undefined, text: box.textContent, scripts: box.querySelectorAll("script, iframe, object, style, link").length,
                images: box.querySelectorAll("img").length, links: [...box.querySelectorAll("a")].map((a) => a.protocol),
                handlers: [...box.querySelectorAll("*")].some((e) => [...e.attributes].some((a) => a.name.startsWith("on"))) }), 0);
        });""", HOSTILE)
    assert found["hacked"] and not found["scripts"] and not found["images"] and not found["handlers"]
    assert set(found["links"]) <= {"https:"} and "<script>window.hacked = 1</script>" in found["text"]
    assert not complaints(browser)


def test_hostile_model_in_the_room(browser, server):
    """The same out of the conversation's own file."""
    go(browser, server, "chat")
    see(browser, "textarea[name=message]")
    talk = {"id": "x", "title": "<img src=x onerror=alert(1)>", "system": "", "settings": {}, "model": "", "at": 0, "leaf": "b",
            "nodes": {"a": {"role": "user", "text": HOSTILE, "parent": None}, "b": {"role": "assistant", "text": HOSTILE, "parent": "a", "model": "m"}}}
    broken = [dict(talk, leaf="none"), {"id": 3}, dict(talk, id="y", nodes={"b": dict(talk["nodes"]["b"], parent="b")}), None]
    browser.execute_script("localStorage.setItem('hearth-talks', arguments[0])", json.dumps([talk, *broken]))
    browser.refresh()
    see(browser, ".talks li button").click()
    assert "<script>" in see(browser, "article.assistant").text
    assert len(browser.find_elements(By.CSS_SELECTOR, ".talks li")) == 1  # what is no conversation is not shown
    assert browser.execute_script("return window.hacked === undefined")
    browser.execute_script("localStorage.clear()")
    assert not complaints(browser)


def test_japanese_narrow_and_dark(browser, server):
    go(browser, server, "chat")
    Select(see(browser, "#tools select")).select_by_value("ja")
    until(browser, lambda: "チャット" in browser.find_element(By.ID, "tabs").text)
    assert browser.execute_script("return document.documentElement.lang") == "ja"
    browser.set_window_size(500, 900)  # the narrowest that Chromium has
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    background = "return getComputedStyle(document.body).backgroundColor"
    was = browser.execute_script(background)
    browser.find_element(By.XPATH, "//button[text()='◐']").click()
    assert browser.execute_script(background) != was
    browser.execute_script("localStorage.clear()")
    browser.set_window_size(1280, 860)
    assert not complaints(browser)


def test_every_text_has_both_languages(browser, server):
    go(browser, server, "chat")
    rows = re.findall(r"^  .*$", (ROOT / "web/text.js").read_text(), re.MULTILINE)
    names = {n for line in rows for n in re.findall(r"(\w+): \[", line)}
    used = {n for f in FILES for n in re.findall(r"\bt\(\"(\w+)\"\)", (ROOT / "web" / f).read_text())}
    assert used <= names
    for code in ("en", "ja"):
        texts = browser.execute_async_script("import('/web/text.js').then((m) => { m.setLanguage(arguments[1]); arguments[2](arguments[0].map((n) => m.t(n))); })", sorted(names), code)
        assert all(isinstance(x, str) and x for x in texts)
    browser.execute_script("localStorage.clear()")
