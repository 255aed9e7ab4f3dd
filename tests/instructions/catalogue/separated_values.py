"""CSV and TSV."""

from tests.instructions.catalogue.case import Case

CSV = [
    Case("csv", "a.csv", b"instruction,output\na,b\nc,d\n", ["ok", "ok"]),
    Case("csv, crlf and bom", "a.csv", b"\xef\xbb\xbfinstruction,output\r\na,b\r\n", ["ok"]),
    Case("tsv", "a.tsv", b"instruction\toutput\na, b\tc\n", ["ok"]),
    Case("csv, quoted newlines", "a.csv", b'instruction,output\n"a\nb\r\nc","d, ""e"""\nf,g\n', ["ok", "ok"]),
    Case("csv, quote inside a field", "a.csv", b'instruction,output\na 5" screen,b\nc,d\n', ["ok", "ok"]),
    Case(
        "csv, unterminated quote",
        "a.csv",
        b'instruction,output\na,b\n"c,d\ne,f\n',
        ["ok", "unterminated_quote"],
    ),
    Case("csv, stray quote", "a.csv", b'instruction,output\n"a" b,c\nd,e\n', ["csv_syntax", "ok"]),
    Case("csv, ragged", "a.csv", b"instruction,output\na\nb,c\nd,e,f\n", ["ragged_row", "ok", "ragged_row"]),
    Case("csv, blank lines", "a.csv", b"instruction,output\n\na,b\n\r\n", ["ok"]),
    Case("csv, lone carriage return", "a.csv", b"instruction,output\na\rb,c\n", ["csv_syntax"]),
    Case("csv, invalid utf-8", "a.csv", b"instruction,output\na,\xff\nb,c\n", ["invalid_utf8", "ok"]),
    Case("csv, nul", "a.csv", b"instruction,output\na,b\0\nc,d\n", ["nul", "ok"]),
    Case(
        "csv, record too long",
        "a.csv",
        b'instruction,output\na,"' + b"x\n" * 4000 + b'"\nb,c\n',
        ["line_too_long", "ok"],
    ),
    Case(
        "csv, line too long",
        "a.csv",
        b'instruction,output\na,"' + b"x" * 9000 + b'\ny"\nb,c\n',
        ["line_too_long", "ok"],
    ),
    Case(
        "csv, field too long",
        "a.csv",
        b"instruction,output\na," + b"x" * 1001 + b"\nb,c\n",
        ["field_too_long", "ok"],
    ),
    Case("csv, no final newline", "a.csv", b"instruction,output\na,b", ["ok"]),
    Case("csv, header only", "a.csv", b"instruction,output\n", "has no rows"),
    Case("csv, column twice", "a.csv", b"instruction,output,output\na,b,c\n", "two columns named 'output'"),
    Case("csv, header broken", "a.csv", b'instruction,"output\na,b\n', "header"),
    Case("csv, formula stays as it is", "a.csv", b"instruction,output\n=1+1,@b\n", ["ok"]),
    Case("csv, latin-1", "a.csv", "instruction,output\né,b\nü,c\nö,d\n".encode("latin-1"), "Latin-1"),
    Case("csv, nul in the header", "a.csv", b"instruction,out\0put\na,b\n", "NUL"),
    Case("csv, 500 columns", "a.csv", b",".join(b"c%d" % n for n in range(500)) + b"\na,b\n", ["ragged_row"]),
    Case("csv, one column", "a.csv", b'instruction\n"a\n"\n', ["missing_field"]),
    Case("csv, semicolons", "a.csv", b"instruction;output\na;b\n", ["unknown_shape"]),
    Case("csv, only quotes", "a.csv", b'instruction,output\n"",""\n', ["empty_instruction"]),
]
