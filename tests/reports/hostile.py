"""What somebody who wants to steer a report would call a module."""

HOSTILE = (
    "</script></style><img src=x onerror=alert(1)>\"' onmouseover=\"x'<b>bold</b> {{7*7}} {% raw %} \u202eback\u202c "
    "\x1b[31m\x00\r\n# heading\n| a | b |\n```\n~~~\n<!-- ]]> &amp; &#64; @octocat #1 GH-1 o/r#1 https://evil.example "
    "www.evil.example mailto:a@b.example [a](http://e.example) ![i](http://e.example) `tick` ``tick`` *s* _e_ ~~d~~ $x$ "
    ":smile: \\| \\ \ufffe\uffff\ud800 \u05d0\u05d1\u05d2"
)
