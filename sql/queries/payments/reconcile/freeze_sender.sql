-- Nothing new of a sender is signed until an operator has looked.
SELECT freeze_sender(%(chain_id)s, %(sender)s, %(reason)s);
