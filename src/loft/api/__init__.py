"""Our kinds as types: what people write, what is stored, nothing that acts.

Foreign Kubernetes objects stay `dict` everywhere, because a typed round trip drops the fields a
type does not know. Our own kinds are `msgspec.Struct`s: the CRD schemas in `charts/*/crds` are
generated from them, so a field exists in one place only.
"""
