// Gradio's server closes a page's event stream (queue/data) when none of its events is under way, and the client opens one
// for a new event (queue/join) unless it believes that one is open. Where the new event's answer overtakes the word that
// the stream ends, the client closes the stream that it counts on: the event is never heard of, and its button is dead.
// Here such a stream goes on: while an event is waited for, the end of one stream is the beginning of the next.
(() => {
  const fetched = window.fetch.bind(window);
  const waited = new Set(), early = new Set(); // events: joined and not complete; complete before the join was answered

  const joined = (id) => early.delete(id) || waited.add(id);
  const complete = (id) => waited.delete(id) || early.add(id);

  async function* messages(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      yield* parts;
    }
  }

  async function* heard(request, response) {
    for (let again = true; again; response = again && (await fetched(request))) {
      if (!response.ok) throw new Error(`the event stream ended with ${response.status}`);
      again = false;
      for await (const message of messages(response)) {
        const { msg, event_id } = JSON.parse(message.slice("data:".length));
        if (msg === "process_completed") complete(event_id);
        if (msg === "unexpected_error") waited.clear();
        again = msg === "close_stream" && waited.size > 0;
        if (!again) yield message + "\n\n";
      }
    }
  }

  window.fetch = async (resource, options) => {
    const response = await fetched(resource, options);
    const path = new URL(resource.url ?? resource, location.href).pathname;
    if (response.ok && path.endsWith("/queue/join")) joined((await response.clone().json()).event_id);
    if (!response.ok || !path.endsWith("/queue/data")) return response;
    const found = heard(resource, response);
    const body = new ReadableStream({
      async pull(out) {
        const { done, value } = await found.next();
        done ? out.close() : out.enqueue(value);
      },
      cancel: () => void found.return(),
    });
    return new Response(body.pipeThrough(new TextEncoderStream()), response);
  };
})();
