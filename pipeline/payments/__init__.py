"""Moving money exactly once: intents, the two commits of a signature, the chain, and what became of it.

The way of a payment, each arrow a commit; what is in brackets is not a commit:

    decide             a job finds what a wallet is to pay
    first commit       transfer requested, nonce reserved (EVM) or reference block and expiration (TRON),
                       signing request asked: exactly what is to be signed, and as it is
    [sign]             the signer is asked, with no transaction open
    second commit      request signed, bytes kept as an attempt, transfer broadcasting, the job waits for the chain
    [send]             anyone may repeat it
    settle             included → final or reverted; proved dead → expired, and asked for anew

                         ┌──────────── refused, given up ───────────→ rejected
    transfer         requested ─────→ broadcasting ←→ included ─→ final | reverted
                         ↑                 │ proved dead
                         └──── expired ←───┘
    signing request  asked ─→ signed       the bytes are kept
                       └────→ refused      the signer has written down that it never signs it, or its nonce is used
    attempt          broadcasting ←→ included ─→ final | reverted;  else expired, or replaced by one of its nonce
    nonce (EVM)      reserved ─→ used | lost;  void ─→ reserved by a gap

Between the two commits a signature may exist, whatever became of the process that asked. So

- a restart asks again by the request's id, and gets the same bytes: signatures are deterministic, and the signer
  remembers what it was asked;
- a request that nobody follows (its worker is gone, or two seconds have passed) is finished by whoever pays next from
  its sender, and by the replacement round of any process with the keys, with what stands in the row;
- a payment that is asked for is given up by nobody but after the signer has said, and written down, that nothing was
  signed for it and nothing will be. Its nonce is then given back where it is the last one, else filled by a gap. Until
  that nonce is settled, or what was asked for has expired, its wallet's next payment of that asset waits;
- a refusal for now (ceiling, disk) leaves everything as it is and uses up no retry;
- what a sender numbers is signed up to the first refusal. What was not reached is never signed under its request; its
  intents are asked for anew, with new requests.

What asks at one moment goes through both commits together, in a batch; each of them is still a payment of its own. What
the database refuses of several is asked for again in halves, until it names the one that it is about.

One transaction carries the payments of a bundle: attempts, nonces and requests belong to bundles, which have one chain
and one sender.

Everybody locks in this order: jobs, transfers, the nonces of a sender, gas of a chain; then rows of attempts and
requests. Several rows of a kind in the order of their ids. No transaction waits for a node or a signer.
"""
