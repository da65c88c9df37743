"""Files that somebody has broken, and what a reader of theirs may do: read on, or say in a sentence which."""


def edited(content, edits):
    """Return ``content`` with some bytes taken out and others put in, at these parts of its length."""
    for where, taken, put in edits:
        place = round(where * len(content))
        content = content[:place] + put + content[place + taken :]
    return content


def told(read, file, content, error):
    """Let ``read`` have ``content``; what it says must be of this kind and name the file."""
    file.write_bytes(content)
    said = str(file)
    try:
        read(file)
    except error as sentence:
        said = str(sentence)
    assert str(file) in said
