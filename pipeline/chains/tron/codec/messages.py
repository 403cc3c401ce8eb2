"""The few messages of TRON's protocol that payments are made of, and the header of a block.

Field numbers and names are java-tron's (core/Tron.proto and core/contract/*.proto). Whatever else a transaction
carries is unknown here, which is how reading finds that it is no plain payment. The tests hold these against
tronpy's and tronweb's encodings.
"""

from pipeline.chains.tron.codec.protobuf import declare

_CLASSES = declare(
    "flagpost.tron",
    {
        "Transaction": {1: ("raw_data", "RawData"), 2: ("signature", "*bytes")},
        "RawData": {
            1: ("ref_block_bytes", "bytes"),
            4: ("ref_block_hash", "bytes"),
            8: ("expiration", "int64"),
            11: ("contract", "*Contract"),
            14: ("timestamp", "int64"),
            18: ("fee_limit", "int64"),
        },
        "BlockHeader": {
            1: ("timestamp", "int64"),
            2: ("txTrieRoot", "bytes"),
            3: ("parentHash", "bytes"),
            7: ("number", "int64"),
            8: ("witness_id", "int64"),
            9: ("witness_address", "bytes"),
            10: ("version", "int32"),
            11: ("accountStateRoot", "bytes"),
        },
        "Contract": {1: ("type", "int32"), 2: ("parameter", "Any")},
        "TransferContract": {1: ("owner_address", "bytes"), 2: ("to_address", "bytes"), 3: ("amount", "int64")},
        "TriggerSmartContract": {
            1: ("owner_address", "bytes"),
            2: ("contract_address", "bytes"),
            3: ("call_value", "int64"),
            4: ("data", "bytes"),
        },
    },
    {},
)
Transaction = _CLASSES["Transaction"]
RawData = _CLASSES["RawData"]
"""java-tron's Transaction.raw: what is signed."""
BlockHeader = _CLASSES["BlockHeader"]
"""java-tron's BlockHeader.raw: what a block's id is made of."""
Contract = _CLASSES["Contract"]
TransferContract = _CLASSES["TransferContract"]
TriggerSmartContract = _CLASSES["TriggerSmartContract"]

TRANSFER = 1
"""ContractType.TransferContract"""
TRIGGER = 31
"""ContractType.TriggerSmartContract"""
