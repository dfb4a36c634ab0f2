"""``impasto serve``: a page to play on and an HTTP API (docs/web-api.md), with Starlette and uvicorn (extra ``[web]``).

settings.py (what a server is told), problems.py (errors as answers), fields.py (what calls take), body.py (reading
them), shelf.py (the models), pool.py (who works, who waits), painting.py and drawing.py (the work itself), guard.py
(who may ask), page_files.py (the page), openapi.py (all of it in a form for programs), app.py (the addresses),
server.py (uvicorn).
"""
