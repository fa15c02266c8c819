"use strict"

const find = id => document.getElementById(id)

find("post")?.addEventListener("click", async () => {
  const answer = await fetch("/echo", { method: "POST", body: find("text").value })
  find("echo").textContent = await answer.text()
})

find("start")?.addEventListener("click", async () => {
  const out = find("stream")
  out.textContent = ""
  const answer = await fetch("/stream")
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
  for (let piece; !(piece = await reader.read()).done;) out.textContent += piece.value
})

const stats = find("stats")
if (stats) {
  new EventSource("/events").addEventListener("stats", event => {
    const values = JSON.parse(event.data)
    for (const item of stats.children) {
      item.querySelector("dd").textContent = values[item.querySelector("dt").textContent]
    }
  })
}
