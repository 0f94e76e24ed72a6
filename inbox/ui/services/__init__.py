"""What an owner does and sees, apart from how: the command line, the pages and the JSON endpoints all ask here.

Functions take a Runtime and give plain rows (dict, list, str, numbers, None); times are Unix seconds.
"""
