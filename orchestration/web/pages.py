"""The pages of the guard itself: why a request was refused, and the form that asks for a token."""

from html import escape

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sultana</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 12vh auto; max-width: 26em; padding: 0 1em; color: #1b1b1f }}
input, button {{ font: inherit; padding: .4em .6em; box-sizing: border-box }}
input {{ width: 100%; margin: .3em 0 .8em }}
</style></head><body><h1>Sultana</h1>
{content}
</body></html>
"""
_FORM = """<p>{said}</p>
<form method="post" action="{action}">
<label>Token<input type="password" name="token" autocomplete="current-password" autofocus required></label>
<input type="hidden" name="next" value="{onward}">
<button>Sign in</button></form>"""


def refusal_page(reason: str) -> str:
    """HTML that says why a request was refused."""
    return _PAGE.format(content=f"<p>{escape(reason)}.</p>")


def sign_in_page(action: str, onward: str, said: str = "This server asks for a token.") -> str:
    """HTML with a form for the token, sent to `action`; `onward` is where to go then."""
    form = _FORM.format(said=escape(said), action=escape(action), onward=escape(onward))
    return _PAGE.format(content=form)
