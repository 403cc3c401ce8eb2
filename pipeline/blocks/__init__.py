"""Blocks in order: each the child of the one before.

cursor     how far the final blocks of a chain were read, for each purpose
follower   final blocks forward from a cursor, and backward from a block
recent     the newest blocks, which may still be forked away
cache      final blocks that several readers want at the same time
"""
