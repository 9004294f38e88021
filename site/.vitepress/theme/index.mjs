// VitePress's own theme without its fonts, with colours of enough contrast, and the live figure.
import DefaultTheme from "vitepress/theme-without-fonts"
import LiveCalls from "./LiveCalls.vue"
import "./style.css"

export default {
  extends: DefaultTheme,
  enhanceApp: ({ app }) => {
    app.component("LiveCalls", LiveCalls)
  }
}
