"""``reelgate batch``: many clips from one file, quoted first, bought once, whatever breaks in between."""
