"""Builders of pages, one a kind; each varies its structure with its number, so that no kind is one template.

Main content is what an editor would call the text: the article with its title, all posts of a forum thread, question
and answers, a document's code and tables, a product's description and figures. Menus, teasers, bylines, comments
under articles, share buttons, consent dialogs, signatures and legal lines are not. An index page has none.
"""

from __future__ import annotations

from labelled_pages.page import Labelled, Writer


def _header(w: Writer, style: int) -> str:
    menu = w.links(w.draw.randint(5, 12))
    if style == 0:
        return f"<header><div class='logo'>{w.noise('span')}</div><nav><ul>{menu}</ul></nav></header>"
    if style == 1:
        return f"<div id='top'><div class='menu'><ul class='menu-list'>{menu}</ul></div></div>"
    return f"<div class='c0'><div>{w.links(8, '')}</div><form><input name=q>{w.noise('button')}</form></div>"


def _footer(w: Writer, style: int) -> str:
    legal = w.noise("p", w.prose(1))
    if style == 0:
        return f"<footer><ul>{w.links(9)}</ul>{legal}</footer>"
    if style == 1:
        return f"<div class='footer'><div class='col'>{w.links(6, 'div')}</div>{legal}</div>"
    return f"<div class='c9'>{w.links(5, '')}<br>{legal}</div>"


def _aside(w: Writer, style: int) -> str:
    teasers = "".join(
        f"<li><a href='#'>{w.noise('h4', w.title())}</a>{w.noise('p', w.prose(1))}</li>" for _ in range(4)
    )
    if style == 0:
        return f"<aside><h3>{w.noise('span')}</h3><ul>{teasers}</ul></aside>"
    return f"<div class='sidebar widget-area'><div class='widget'>{w.noise('h3')}<ul>{teasers}</ul></div></div>"


def news(w: Writer) -> Labelled:
    style = w.number % 3
    share = f"<div class='share social'>{w.links(4, 'span')}</div>"
    byline = w.noise("div", "By A. Writer, 3 May", "class='byline'")
    inner = [w.main("h1", w.title()), byline, share, *w.paragraphs(3)]
    if style != 1:
        inner += [w.main("h2", w.title()), *w.paragraphs(2)]
    inner.insert(5, f"<div class='related-box'>{w.noise('h3')}<ul>{w.links(3)}</ul></div>")
    inner.append(w.main("blockquote", w.prose(2)) if style == 2 else w.paragraphs(1)[0])
    text = "".join(inner)
    wrapped = (
        f"<main><article>{text}</article></main>", f"<div id='content' class='article-body'>{text}</div>",
        f"<div class='c3'><div class='c4'>{text}</div></div>",
    )[style]  # fmt: skip
    sides = (_aside(w, style), "") if style == 1 else ("", _aside(w, style))
    return w.page(f"<body>{_header(w, style)}{sides[0]}{wrapped}{sides[1]}{_footer(w, style)}</body>")


def blog(w: Writer) -> Labelled:
    style = w.number % 2
    post = [w.main("h2" if style else "h1", w.title()), w.noise("p", "Posted on 12 March", "class='meta'")]
    post += w.paragraphs(3, 3, 5)
    post.append(f"<ul>{''.join(w.main('li', w.prose(1)) for _ in range(3))}</ul>")
    post += w.paragraphs(2)
    comments = "".join(
        f"<li class='comment'><b>{w.noise('span', name)}</b>{w.noise('p', w.prose(w.draw.randint(1, 3)))}</li>"
        for name in ("rivermouse", "Ada", "old salt", "T.")
    )
    tail = (
        f"<section id='comments' class='comments'><h3>4 comments</h3><ol class='comment-list'>{comments}</ol></section>"
    )
    body = f"<div class='post hentry'><div class='entry-content'>{''.join(post)}</div>{tail}</div>"
    tags = f"<div class='tags tag-cloud'>{w.links(25, 'span')}</div>"
    body += f"{_aside(w, 1)}{tags}"
    return w.page(f"<body class='blog'>{_header(w, style)}<div class='wrap'>{body}</div>{_footer(w, 1)}</body>")


def forum(w: Writer) -> Labelled:
    style = w.number % 3
    posts = []
    for name in ("marta77", "fennel", "quiet_otter", "marta77", "boatswain"):
        panel = w.noise("span", name, "class='user'") + w.noise("span", "Posts: 312")
        sign = w.noise("div", w.prose(1), "class='signature'")
        text = w.main("div" if style else "p", w.prose(w.draw.randint(1, 4)), "class='content'")
        if style == 2:
            posts.append(f"<tr><td class='author'>{panel}</td><td class='postbody'>{text}{sign}</td></tr>")
        else:
            posts.append(f"<div class='post'><div class='postprofile'>{panel}</div>{text}{sign}{w.links(3, '')}</div>")
    talk = f"<table class='thread'>{''.join(posts)}</table>" if style == 2 else "".join(posts)
    talk = f"<div id='page-body'>{talk}</div><div class='pagination'>{w.links(5)}</div>"
    return w.page(f"<body>{_header(w, 1)}{talk}{_footer(w, 1)}</body>")


def thread(w: Writer) -> Labelled:
    """A link and what people say about it: here the comments are the content."""
    style = w.number % 2
    posts = [
        f"<div class='comment'>{w.noise('a', name, 'class=author')}<div class='md'>"
        f"{w.main('p', w.prose(w.draw.randint(1, 4)))}</div>{w.links(3, '')}</div>"
        for name in ("marta77", "fennel", "quiet_otter", "boatswain", "fennel", "ada")
    ]
    nested = "<div class='replies'>".join(posts) + "</div>" * (len(posts) - 1)
    talk = nested if style else "".join(f"<tr class='comtr'><td>{post}</td></tr>" for post in posts)
    talk = f"<div class='commentarea'>{talk}</div>" if style else f"<table class='comment-tree'>{talk}</table>"
    return w.page(f"<body>{_header(w, 2)}<main>{w.main('h1', w.title())}{talk}</main>{_footer(w, 2)}</body>")


def docs(w: Writer) -> Labelled:
    style = w.number % 3
    tree = f"<div class='toc sidebar'><ul>{w.links(30)}</ul></div>"
    code = f"def ferry_{w.number}(level, wind):\n    if level > 4:\n        return 'closed'\n    return wind * 2"
    inner = w.main("h1", w.title()) + "".join(w.paragraphs(2))
    inner += w.main("pre", code) if style else f"<pre><code>{w.bare(code)}</code></pre>"
    cells = "".join(f"<tr>{w.main('td', f'option_{i}')}{w.main('td', w.prose(1))}</tr>" for i in range(5))
    inner += f"<table><tbody>{cells}</tbody></table>" + w.main("h2", w.title()) + "".join(w.paragraphs(2))
    frame = ("<main role='main'>{}</main>", "<div class='body' role='main'><div class='section'>{}</div></div>",
             "<div class='document'>{}</div>")[style]  # fmt: skip
    turn = f"<div class='prev-next'>{w.links(2, '')}</div>"
    return w.page(f"<body>{_header(w, style)}{tree}{frame.format(inner)}{turn}{_footer(w, style)}</body>")


def product(w: Writer) -> Labelled:
    style = w.number % 2
    buy = f"<div class='buybox'><span class='price'>49.00</span><button>{w.noise('span')}</button></div>"
    rows = "".join(
        f"<tr>{w.main('th', name)}{w.main('td', value)}</tr>"
        for name, value in (
            ("Weight of the lamp", "1.2 kg with its bracket"),
            ("Depth of the case", "34 cm at the foot"),
            ("Material of the frame", "ash wood, oiled twice"),
            ("Warranty of the maker", "three years"),
        )
    )
    text = w.main("h1", w.title()) + buy + "".join(w.paragraphs(2, 3, 4))
    bullets = "".join(w.main("li", w.prose(1)) for _ in range(4))
    text += f"<ul class='features'>{bullets}</ul><table class='specs'>{rows}</table>"
    others = "".join(
        f"<div class='card'><a href='#'>{w.noise('span', w.title())}</a><span>12.00</span></div>" for _ in range(8)
    )
    main = (
        f"<main><section class='product'>{text}</section></main>"
        if style
        else f"<div class='product-detail'>{text}</div>"
    )
    return w.page(
        f"<body>{_header(w, style)}{main}<div class='recommendations'>{others}</div>{_footer(w, style)}</body>"
    )


def recipe(w: Writer) -> Labelled:
    style = w.number % 2
    text = w.main("h1", w.title()) + w.paragraphs(1)[0] + w.noise("button")
    food = ("200 g of fine rye flour", "two spoons of dark honey", "half a litre of warm milk", "a pinch of grey salt")
    text += f"<ul class='ingredients'>{''.join(w.main('li', each) for each in food)}</ul>"
    steps = "".join(w.main("li" if style else "p", w.prose(2)) for _ in range(5))
    text += f"<ol>{steps}</ol>" if style else f"<div class='steps'>{steps}</div>"
    text += f"<div class='rating'>{w.noise('span', '4.6 of 5 from 212 votes')}</div>"
    return w.page(
        f"<body>{_header(w, 0)}<article class='recipe'>{text}</article>{_aside(w, style)}{_footer(w, style)}</body>"
    )


def answers(w: Writer) -> Labelled:
    style = w.number % 2
    parts = [w.main("h1", w.title())]
    for place in range(3):
        votes = f"<div class='votecell'>{w.noise('span', str(17 * place + 3))}</div>"
        body = "".join(w.paragraphs(2, 1, 3))
        if place:
            body += f"<pre><code>{w.bare(f'river.level(day={place}) == river.mean() + {place}')}</code></pre>"
        small = f"<ul class='comments-list'><li>{w.noise('span', w.prose(1))}</li></ul>"
        kind = "answer" if place else "question"
        parts.append(
            f"<div class='{kind}'>{votes}<div class='post-text'>{body}</div>{small}<div>{w.links(3, '')}</div></div>"
        )
    frame = "<main>{}</main>" if style else "<div id='mainbar'>{}</div>"
    body = f"{frame.format(''.join(parts))}<div id='sidebar'><ul>{w.links(15)}</ul></div>"
    return w.page(f"<body>{_header(w, 2)}{body}{_footer(w, 0)}</body>")


def index(w: Writer) -> Labelled:
    style = w.number % 3
    heads = [f"<h3><a href='#'>{w.noise('span', w.title())}</a></h3>" for _ in range(20)]
    cards = "".join(f"<div class='card'>{head}{w.noise('p', w.title() + '…') if style else ''}</div>" for head in heads)
    return w.page(f"<body>{_header(w, style)}<main><h1>{w.noise('span')}</h1>{cards}</main>{_footer(w, style)}</body>")


def consent(w: Writer) -> Labelled:
    style = w.number % 2
    legal = "".join(w.noise("p", w.prose(3)) for _ in range(4)) + w.noise("button") * 3
    dialog = (f"<div id='cookie-banner' class='cookie-consent' role='dialog'>{legal}</div>",
              f"<div class='x7 overlay' aria-modal='true'><div class='x8'>{legal}</div></div>")[style]  # fmt: skip
    text = w.main("h1", w.title()) + "".join(w.paragraphs(4))
    return w.page(f"<body>{dialog}{_header(w, style)}<article>{text}</article>{_footer(w, style)}</body>")


def menus(w: Writer) -> Labelled:
    style = w.number % 2
    columns = "".join(f"<li><a href='#'>{w.noise('span')}</a><ul>{w.links(30)}</ul></li>" for _ in range(12))
    mega = f"<nav class='mega'><ul>{columns}</ul></nav>" if style else f"<div class='c1'><ul>{columns}</ul></div>"
    text = w.main("h1", w.title()) + "".join(w.paragraphs(2))
    frame = "<main>{}</main>" if style else "<div class='c2'>{}</div>"
    return w.page(f"<body>{mega}{frame.format(text)}{_footer(w, style)}</body>")


def tables(w: Writer) -> Labelled:
    style = w.number % 3
    menu = "".join(f"<tr><td bgcolor=#cccccc><font size=1>{w.links(1, '')}</font></td></tr>" for _ in range(10))
    pieces = [w.bare(w.prose(w.draw.randint(2, 5))) for _ in range(4)]
    gap = "<br><br>" if style else "<p>"
    text = f"<font size=5><b>{w.bare(w.title())}</b></font>{gap}<font face=Arial>{gap.join(pieces)}</font>"
    if style == 2:
        text = f"<center><table width=90%><tr><td>{text}</td></tr></table></center>"
    low = f"<hr><center><font size=1>{w.links(4, '')}<br>{w.noise('i', 'Best viewed at 800 by 600')}</font></center>"
    return w.page(
        f"<body bgcolor=white><table width=100% border=0><tr><td width=120 valign=top><table>{menu}</table></td>"
        f"<td valign=top>{text}</td></tr></table>{low}</body>",
        doctype="<!DOCTYPE HTML PUBLIC '-//W3C//DTD HTML 3.2//EN'>\n",
    )


def short(w: Writer) -> Labelled:
    style = w.number % 2
    text = w.main("h1", w.title()) + w.main("p", w.prose(2))
    frame = "<main>{}</main>" if style else "<div class='page'>{}</div>"
    return w.page(f"<body>{_header(w, style)}{frame.format(text)}{_footer(w, style)}</body>")


def classless(w: Writer) -> Labelled:
    """Nested divs with names from a style compiler, as single-page applications give them."""
    name = lambda: f"class='css-{w.draw.randrange(16**6):06x}'"  # noqa: E731 — a name a call
    lines = "".join(w.main("div", w.prose(w.draw.randint(2, 4)), name()) for _ in range(5))
    text = w.main("div", w.title(), name()) + f"<div {name()}>{lines}</div>"
    bar = f"<div {name()}>{w.links(10, 'div')}</div>"
    cards = "".join(f"<div {name()}><a href='#'>{w.noise('div', w.title())}</a></div>" for _ in range(6))
    low = f"<div {name()}>{cards}</div><div {name()}>{w.links(8, 'span')}</div>"
    return w.page(f"<body><div id='root'><div {name()}>{bar}<div {name()}>{text}</div>{low}</div></div></body>")


def labelled_pages() -> list[Labelled]:
    """All pages, always the same."""
    made = []
    for build, count in (
        (news, 3), (blog, 2), (forum, 3), (thread, 2), (docs, 3), (product, 2), (recipe, 2), (answers, 2), (index, 3),
        (consent, 2), (menus, 2), (tables, 3), (short, 2), (classless, 2),
    ):  # fmt: skip
        made += [build(Writer(build.__name__, number)) for number in range(count)]
    other = (("de", news), ("fr", blog), ("es", news), ("ru", tables), ("el", news), ("ko", blog), ("hi", news))
    made += [build(Writer("other languages", number, language)) for number, (language, build) in enumerate(other)]
    cjk = (("ja", news), ("zh", news), ("ja", blog), ("zh", tables))
    made += [build(Writer("Chinese, Japanese", number, language)) for number, (language, build) in enumerate(cjk)]
    right = (("ar", news), ("he", blog), ("ar", tables), ("he", news))
    made += [build(Writer("right to left", number, language)) for number, (language, build) in enumerate(right)]
    return made
