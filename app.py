"""The inbox as two names: `app` for any WSGI server (`flask --app app run`), `huey` for `huey_consumer app.huey`."""

from inbox.receive.wsgi import create_app
from inbox.runtime import Runtime
from inbox.ui.app import share

runtime = Runtime.from_environment()
app = create_app(runtime.receiver, runtime.settings.server, runtime.watching.lookout)
share(app, runtime)
huey = runtime.queue.huey
