"""A stand-in for the Kubernetes API, for tests: HTTP on this machine, and no cluster behind it.

What it does as the real API does: discovery; get, list by labels and fields, watch (410 Gone included), create, update,
merge patch, delete; server-side apply with owners of fields, conflicts and dry runs, merged by Kubernetes' own schemas,
against which every object is checked when it is written; some defaults; versions and generations; immutable fields;
401, 403 by permission and by quota, 404 for objects, kinds and namespaces, 429 with Retry-After; access reviews.
Deployments roll out pod by pod, a step at each look; an image whose name has one of `controllers.FATES` in it does not
come up, with the status, events and logs that the real one would have.

What it does not: no pod runs and no request is routed; no admission but quotas, no aggregated discovery, no protobuf,
no pages of long lists, no finalizers (what is deleted is gone at once), no strategic merge of lists.

That the real ``kubectl`` gets along with it is tested (tests/acceptance/test_standin.py).
"""

from tests.standin.server import TOKEN, USER, Cluster

__all__ = ["TOKEN", "USER", "Cluster"]
