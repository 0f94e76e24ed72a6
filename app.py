"""The inbox as two names: `app` for any WSGI server (`flask --app app run`), `huey` for `huey_consumer app.huey`."""

from inbox import pages
from inbox.runtime import Runtime
from inbox.web import create_app

runtime = Runtime.from_environment()
app = create_app(runtime.receiver, runtime.settings.server, runtime.watching.lookout)
pages.share(app, runtime)
huey = runtime.queue.huey
