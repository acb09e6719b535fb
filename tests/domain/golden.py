"""What version 0.1 wrote, kept letter by letter: every later version must be able to read it.

Never make these anew: a test that fails on them has found a broken promise (G7).
"""

# ruff: noqa: E501 (the lines are as they were written)

from __future__ import annotations

from typing import Final
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from keyturn import KeyRing

IDENTITY_SEED: Final = bytes(32)
SEALING_KEY: Final = bytes(range(32))
KEY_RING: Final = KeyRing(IDENTITY_SEED, SEALING_KEY)
NODE_ID: Final = "v7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg"
MANAGER_ID: Final = UUID("03bcfb47-ef62-5ed9-b4b7-7744c38f82b3")
"""The id of the manager `default`."""

SECRETS: Final = (bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32)
"""The session keys of the three generations."""

_GENERATED = (
    '{"generation":1,"initiator":"alice@laptop","key_id":"hx8dT_SPR9shY9eN","manager":"de'
    'fault","node_id":"v7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg","originator'
    '_topic":"keyturn.SessionKeys","previous_digest":"00000000000000000000000000000000000'
    '00000000000000000000000000000","reason":null,"sealed_key":"eBS89okTJ2f8Swf74wlDFYuj1'
    'NeOuugECoLF6uNoil6tGE42BT2OIlgd7xCC1ZWQL3RrWwlin2zFFT-b","signature":"sC_vlJb8XrWWH2'
    'hp2NY-JLvOGFMNSvbk3SbcQBgQAOfv6TlDGHxjtgR-Poc1EEl5fpoSygCjxR_aIsqxvBF9BA","timestamp'
    '":"2025-01-01T12:00:00.250000Z"}'
)
_ROTATED = (
    '{"generation":2,"initiator":"bob@server","key_id":"E2UWn_a2HLKEC190","manager":"defa'
    'ult","node_id":"v7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg","overlap":360'
    '0,"previous_digest":"3d65178ba0b5e7ea62289a78823ec798c93165d4c362c407dcdcd19b4d2ebc0'
    '8","reason":"monthly","retiring":[{"generation":1,"good_until":"2025-01-01T13:01:00.'
    '250000Z","key_id":"hx8dT_SPR9shY9eN","sealed_key":"eBS89okTJ2f8Swf74wlDFYuj1NeOuugEC'
    'oLF6uNoil6tGE42BT2OIlgd7xCC1ZWQL3RrWwlin2zFFT-b"}],"sealed_key":"AEyAaIa90I8lsADvmSj'
    'p3rN9WHn3tKekHBX3KnvCN0egacqX3jzFbfHz7KnRRQzPxctcibMToKxO1J-C","signature":"_1kFPO6Q'
    'eeMSt8gM2A9Nc9Hl0EGsLmBG6qMhydw4AkQcSYsTQ36Mwnj7k6DWQqQmlL-cfrmyV0dhZZ0aDjelDw","tim'
    'estamp":"2025-01-01T12:01:00.250000Z"}'
)
_RESET = (
    '{"generation":3,"initiator":"Zoë","key_id":"B_kAUuYoGkkDZ2YW","manager":"default","n'
    'ode_id":"v7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg","previous_digest":"7'
    '9c4daf8e02d58b0ad714c1ccc72b62e8c808f102894483cff617bdecc86d0ba","reason":"laptop “s'
    'tolen” \\n","sealed_key":"jYH_fucy9ArpivC3T0JBQv1fWquKq9JDiuTtxXxWBq9FoGJZLQ96Gsz6EVY'
    'fql6vjQhGXXlSdwXjHpx-","signature":"n5GOEuAwiEhszX1W34Mv6VoosRAHhu_PgG4Zwb98WCR6m7xj'
    '9z7KM8XjMNMciKY1BI81nI6vaPWamGqkH0nRAg","timestamp":"2025-01-01T12:02:00.250000Z"}'
)
_DESTROYED = (
    '{"generation":3,"initiator":"alice@laptop","key_id":"B_kAUuYoGkkDZ2YW","manager":"de'
    'fault","node_id":"v7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg","previous_d'
    'igest":"334e6d77ca5784f51eb8728b78bac459fefe3e943e9b0388a5173e0549416431","reason":"'
    'the end","signature":"XRqi048UOlXD4s4U-he4Lpe64I-ea3bJhKTEnQ6CM9NZov87XC8lq-42KIftYV'
    'b3heSbK3PgCT5fZqL5E1CQAw","timestamp":"2025-01-01T12:03:00.250000Z"}'
)

ROWS: Final = tuple(
    StoredEvent(MANAGER_ID, position, topic, state.encode("utf-8"))
    for position, topic, state in (
        (1, "keyturn.KeyGenerated", _GENERATED),
        (2, "keyturn.KeyRotated", _ROTATED),
        (3, "keyturn.KeyReset", _RESET),
        (4, "keyturn.KeysDestroyed", _DESTROYED),
    )
)
"""One event of each kind, 2025-01-01, 12:00:00.25 and a minute later each."""

DIGESTS: Final = (
    "3d65178ba0b5e7ea62289a78823ec798c93165d4c362c407dcdcd19b4d2ebc08",
    "79c4daf8e02d58b0ad714c1ccc72b62e8c808f102894483cff617bdecc86d0ba",
    "334e6d77ca5784f51eb8728b78bac459fefe3e943e9b0388a5173e0549416431",
    "80ccfc6c67bac63a267fcf8cf21c8bf600b1a40ac69352cf3c1749522492346e",
)

OPEN_KEY_RING: Final = b"""{
  "format": "keyturn key ring",
  "version": 1,
  "node_id": "v7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg",
  "kdf": {
    "name": "none"
  },
  "secrets": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw",
  "checksum": "a4f27e2c430956324bf4dc52ec72ae3b113df733a67f29448851947f5c35690a"
}
"""

LOCKED_KEY_RING: Final = b"""{
  "format": "keyturn key ring",
  "version": 1,
  "node_id": "v7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg",
  "kdf": {
    "name": "argon2id",
    "memory_kib": 65536,
    "iterations": 3,
    "lanes": 4,
    "salt": "CB3VXGoJePLF731pOjPIEg"
  },
  "secrets": "M8syS35JH1fo1DxnsFmblqtJ5rgstHXDGb4uKjXcA2U9XxOGyUxsi_tR447yvX1DdoX6KJdfaJGeU3RhRkixtXmNCRvg5Uef0uiRSJfN2MLOkcdjGrFdG1ek474",
  "checksum": "49a037df54eb0f3d1d51e65af9e40f2a2ea008ca697fef3da5fc17f004968f82"
}
"""
"""The same secrets under the password `golden`."""

ANCHOR: Final = b"""{
  "format": "keyturn anchor",
  "version": 1,
  "node_id": "v7dl2ff6emqi2qol3l382krodedij45bn3nh479hqo14a32qpr8kg",
  "managers": {
    "default": {
      "position": 4,
      "digest": "80ccfc6c67bac63a267fcf8cf21c8bf600b1a40ac69352cf3c1749522492346e",
      "signature": "XRqi048UOlXD4s4U-he4Lpe64I-ea3bJhKTEnQ6CM9NZov87XC8lq-42KIftYVb3heSbK3PgCT5fZqL5E1CQAw"
    }
  }
}
"""

TOKEN: Final = (
    "eyJhbGciOiJIUzI1NiIsImtpZCI6Imh4OGRUX1NQUjlzaFk5ZU4iLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJ2N"
    "2RsMmZmNmVtcWkycW9sM2wzODJrcm9kZWRpajQ1Ym4zbmg0NzlocW8xNGEzMnFwcjhrZyIsInN1YiI6InY3Z"
    "GwyZmY2ZW1xaTJxb2wzbDM4Mmtyb2RlZGlqNDVibjNuaDQ3OWhxbzE0YTMycXByOGtnIiwiaWF0IjoxNzM1N"
    "zMyODAwLCJqdGkiOiItcUtBVHFvSjZSMDdEcDdwMkVSbDNMIiwic2lkIjoic0NfVlZkNFRvVUxBaldBTzAyW"
    "UpIYyIsImF1dGhfdGltZSI6MTczNTczMjgwMCwiZXhwIjoxNzM1NzM2NDAwLCJyb2xlIjoiYWRtaW4iLCLDv"
    "G7DryI6WzEsMi41LG51bGwsdHJ1ZSx7ImEiOiJiIn1dfQ.KiHsjo5inSrrFkQxbvaKBmE_Pi4pGxqMRpWdf9"
    "DVubg"
)
"""Of generation 1, minted at 2025-01-01 12:00:00.25 for an hour."""
