"""Who asks, and what they may: keys, tenants and roles.

    identity   a key's tenant, user and roles
    keys       the file of keys: hashes of random texts
    gate       from what a client sends to an identity, or a refusal
    tenant     what an operator says of a tenant

Knows nothing of HTTP routes or of the host.
"""
